"""Chooses an engine by name. Heavy libraries are imported only for the engine that is asked for."""

from __future__ import annotations

from inference_worker.engine import Engine, EngineError, EngineSpec

ENGINE_NAMES = ("continuous_batching", "stateful", "optimum", "sample")


def create_engine(spec: EngineSpec) -> Engine:
    """The engine named by `spec`, not started yet.

    Raises:
        ValueError: no engine has the name.
        EngineError: a package that the engine needs is not installed.
    """
    try:
        return _create(spec)
    except ImportError as error:
        hint = "Choose another with OVCHAT_ENGINE, or install the packages."
        if spec.engine == "optimum":
            hint = (
                "Install optimum-intel[openvino], or choose OVCHAT_ENGINE=stateful, which needs neither it nor torch."
            )
        raise EngineError(f"The engine {spec.engine} cannot be imported: {error}. {hint}") from error


def _create(spec: EngineSpec) -> Engine:
    match spec.engine:
        case "continuous_batching":
            from inference_worker.engines.continuous_batching import ContinuousBatchingEngine

            return ContinuousBatchingEngine(spec)
        case "stateful":
            from inference_worker.engines.stateful import StatefulEngine

            return StatefulEngine(spec)
        case "optimum":
            from inference_worker.engines.optimum import OptimumEngine

            return OptimumEngine(spec)
        case "sample":
            from inference_worker.engines.sample import SampleEngine

            return SampleEngine(spec)
    raise ValueError(f"unknown engine {spec.engine!r}; known: {', '.join(ENGINE_NAMES)}")
