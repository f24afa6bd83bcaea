"""A checkpoint of a few bytes that passes preflight, and what the sample stages make of it."""

import hashlib
import json
from pathlib import Path

#: Bytes of a sample IR's weights.
WEIGHTS_BYTES = 48 << 10


def write_sample_checkpoint(folder: Path, seed: int = 0, *, weight_bytes: int = 8) -> Path:
    """Write a checkpoint that differs by its seed; nothing can load it, but its configuration and header are true.

    `weight_bytes` is a multiple of 8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "seed": seed}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    weight = {"dtype": "U8", "shape": [weight_bytes], "data_offsets": [0, weight_bytes]}
    header = json.dumps({"weight": weight}).encode()
    body = len(header).to_bytes(8, "little") + header + seed.to_bytes(8, "little") * (weight_bytes // 8)
    (folder / "model.safetensors").write_bytes(body)
    return folder


def sample_weights(source_dir: Path, weight_format: str) -> bytes:
    """Return the weights that a variant of a sample checkpoint has to have."""
    seed = hashlib.sha256((source_dir / "model.safetensors").read_bytes() + weight_format.encode()).digest()
    return hashlib.shake_256(seed).digest(WEIGHTS_BYTES)
