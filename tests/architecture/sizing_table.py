"""Makes the sizing table of ``deploy/docs/operations.md`` from the catalogue and the worker's own memory estimate.

``.venv/bin/python -m tests.architecture.sizing_table`` writes it between the document's markers.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference_worker.memory_need import memory_need
from shared.catalog import CatalogEntry, load_catalog
from shared.schemas.models import WeightFormat
from tests.architecture.marked_section import MarkedSection
from tests.architecture.sources import ROOT

SECTION = MarkedSection(ROOT / "deploy" / "docs" / "operations.md", "<!-- sizing: begin -->", "<!-- sizing: end -->")
#: One of each size.
MODELS = (
    "smollm2-135m-instruct", "qwen2.5-0.5b-instruct", "tiny-llama-1b-chat", "qwen2.5-1.5b-instruct",
    "llama-3.2-3b-instruct", "qwen3-4b", "qwen2.5-7b-instruct", "llama-3.1-8b-instruct", "gemma-2-9b-it",
    "qwen2.5-14b-instruct", "qwen3-30b-a3b", "mixtral-8x7b-instruct",
)  # fmt: skip
#: Models that read only a part of their weights for a token.
MIXTURES = ("qwen3_moe", "mixtral")
#: Two channels of DDR4-3200 give about so much a second.
BANDWIDTH_BYTES = 50e9


def sizing_table() -> str:
    """Return the table; sizes in GB (10⁹ bytes), each as int4 / int8 / fp16."""
    catalog = load_catalog()
    lines = [
        "| model | weights | to load | to serve, without KV cache | to convert | one chat, at most, at 50 GB/s |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        entry = catalog.find(name)
        assert entry is not None, name
        weights = [_weights(entry, weight_format) for weight_format in ("int4", "int8", "fp16")]
        needs = [memory_need(weights_bytes=size, kv_cache_bytes=0) for size in weights]
        speeds = "–" if entry.family in MIXTURES else f"{_row([BANDWIDTH_BYTES / size for size in weights], 0)} tok/s"
        cells = (
            f"`{name}`",
            _row([size / 1e9 for size in weights], 1),
            _row([need.load_bytes / 1e9 for need in needs], 1),
            _row([need.serving_bytes / 1e9 for need in needs], 1),
            f"{(entry.conversion_memory_bytes or 0) / 1e9:.1f}",
            speeds,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _weights(entry: CatalogEntry, weight_format: WeightFormat) -> int:
    size = entry.weights_bytes(weight_format)
    assert size is not None, entry.id
    return size


def _row(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    SECTION.write(sizing_table())
