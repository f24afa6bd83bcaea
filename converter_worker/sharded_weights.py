"""Writing weights as they come, without holding them all: one safetensors file, or several with their index."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARD_BYTES = 2 << 30
_SINGLE = "model.safetensors"


def write_weights(
    weights: Iterable[tuple[str, NDArray[np.float16]]], folder: Path, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write named weights into `folder` as transformers reads them."""
    shards: list[list[str]] = []
    held: dict[str, NDArray[np.float16]] = {}
    total = 0
    for name, weight in weights:
        if held and sum(one.nbytes for one in held.values()) + weight.nbytes > shard_bytes:
            shards.append(_flush(held, folder / f"shard-{len(shards)}"))
            held = {}
        held[name] = weight
        total += weight.nbytes
    shards.append(_flush(held, folder / f"shard-{len(shards)}"))
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / _SINGLE)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"shard-{number}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{_SINGLE}.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _flush(held: dict[str, NDArray[np.float16]], file: Path) -> list[str]:
    from safetensors.numpy import save_file

    save_file(held, file, metadata={"format": "pt"})
    # The library makes the file readable by its owner only.
    file.chmod(0o644)
    return list(held)
