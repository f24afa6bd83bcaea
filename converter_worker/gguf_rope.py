"""How a GGUF file stretches its positions, in the words of a checkpoint's configuration."""

import math

import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray

from converter_worker.gguf_file import GgufFile
from shared.errors import FamilyNotExported

#: Tensor of one divisor per rotary frequency, as Llama 3.1 and its kin have it.
ROPE_FACTORS = "rope_freqs.weight"
#: What Llama 3.1, 3.2 and 3.3 have in common; a file names only what follows from it.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def rope_scaling(file: GgufFile, prefix: str) -> dict[str, object] | None:
    """Return `rope_scaling` of config.json, None where positions are as they are.

    Raises:
        FamilyNotExported: they are stretched in a way that is not known here.
    """
    factors = next((tensor for tensor in file.tensors if tensor.name == ROPE_FACTORS), None)
    if factors is not None:
        return _llama3(dequantize(factors.data, factors.tensor_type).ravel(), file, prefix)
    kind = file.find(f"{prefix}.rope.scaling.type", str)
    if kind in (None, "none"):
        return None
    factor = file.read(f"{prefix}.rope.scaling.factor", float)
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        original = file.read(f"{prefix}.rope.scaling.original_context_length", int)
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    raise _unknown(kind or "")


def _llama3(factors: NDArray[np.float32], file: GgufFile, prefix: str) -> dict[str, object]:
    factor = float(factors.max())
    theta = file.find(f"{prefix}.rope.freq_base", float) or 10_000.0
    expected = llama3_factors(len(factors), theta, factor)
    if not np.allclose(factors, expected, rtol=1e-3):
        raise _unknown("of its own factors")
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}


def llama3_factors(count: int, theta: float, factor: float) -> list[float]:
    """Return by how much each rotary frequency is divided in a model of Llama 3.1's kind."""
    low, high, original = 1.0, 4.0, 8192
    found = []
    for place in range(count):
        wavelength = 2 * math.pi * theta ** (place / count)
        if wavelength < original / high:
            found.append(1.0)
        elif wavelength > original / low:
            found.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return found


def _unknown(kind: str) -> FamilyNotExported:
    return FamilyNotExported(
        f"The GGUF file stretches its positions in a way that is not known here ({kind}). Take the model's own "
        "checkpoint.",
        param="source_model",
    )
