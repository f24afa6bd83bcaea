"""Chooses an engine by name. Heavy libraries are imported only for the engine that is asked for."""

from __future__ import annotations

from inference_worker.engine import Engine, EngineSpec

ENGINE_NAMES = ("continuous_batching", "sample")


def create_engine(spec: EngineSpec) -> Engine:
    """The engine named by `spec`, not started yet. Raises ValueError for an unknown name."""
    if spec.engine == "continuous_batching":
        from inference_worker.engines.continuous_batching import ContinuousBatchingEngine

        return ContinuousBatchingEngine(spec)
    if spec.engine == "sample":
        from inference_worker.engines.sample import SampleEngine

        return SampleEngine(spec)
    raise ValueError(f"unknown engine {spec.engine!r}; known: {', '.join(ENGINE_NAMES)}")
