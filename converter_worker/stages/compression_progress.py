"""Progress from inside nncf's loops: its modules bind their progress bar by name, and it can be replaced there."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from converter_worker.stages.contract import ReportProgress

_FOLDER = "nncf.quantization.algorithms.weight_compression"
#: Choosing the layers that stay in 8 bits reads every weight once; compressing is the larger part. Where texts are
#: looked at, that and what is made of it take most of the time, and some of the loops run more than once.
_SPANS: dict[str, tuple[float, float]] = {
    "nncf.common.tensor_statistics.aggregator": (0.05, 0.3),
    f"{_FOLDER}.awq": (0.05, 0.3),
    f"{_FOLDER}.mixed_precision": (0.05, 0.3),
    f"{_FOLDER}.scale_estimation": (0.3, 0.8),
    f"{_FOLDER}.gptq": (0.3, 0.8),
    f"{_FOLDER}.algorithm": (0.3, 0.92),
}


@contextlib.contextmanager
def compression_progress(report: ReportProgress) -> Iterator[None]:
    """Report while the context lasts; progress never goes back."""
    reached = 0.0

    def advance(progress: float, message: str) -> None:
        nonlocal reached
        reached = max(reached, progress)
        report(reached, message)

    modules = {importlib.import_module(name): span for name, span in _SPANS.items()}
    originals = {module: module.track for module in modules}
    for module, (start, end) in modules.items():
        vars(module)["track"] = _reporting_track(advance, start, end)
    try:
        yield
    finally:
        for module, original in originals.items():
            vars(module)["track"] = original


def _reporting_track(advance: Callable[[float, str], None], start: float, end: float) -> Callable[..., Iterator[Any]]:
    def track(sequence: Any, description: str = "", total: int | None = None, **options: Any) -> Iterator[Any]:
        weights = options.get("weights")
        whole = sum(weights) if weights else total if total is not None else _length(sequence)
        done = 0.0
        for number, item in enumerate(sequence):
            yield item
            done += weights[number] if weights else 1.0
            advance(start + (end - start) * min(1.0, done / (whole or 1.0)), description)

    return track


def _length(sequence: Any) -> int:
    return len(sequence) if hasattr(sequence, "__len__") else 0
