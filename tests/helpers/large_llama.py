"""A random-weight llama of 1.1 billion parameters in sharded safetensors, written without any model library."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, VOCABULARY = 22, 2048, 5632, 32, 4, 49_152
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
_LAYERS_A_SHARD = 8


def write_large_llama(folder: Path, tokenizer_folder: Path) -> Path:
    """Write the checkpoint (2.3 GB) with another model's tokenizer, and return the folder; what is there is kept."""
    if (folder / "model.safetensors.index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer_folder / name).exists():
            shutil.copy(tokenizer_folder / name, folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names: dict[str, str] = {}
    total = 0
    shards = list(checkpoint_shards())
    for number, shapes in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        tensors = {key: _weights(key, shape) for key, shape in shapes.items()}
        save_file(tensors, str(folder / name), metadata={"format": "pt"})
        total += sum(tensor.nbytes for tensor in tensors.values())
        names.update(dict.fromkeys(tensors, name))
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def checkpoint_shards() -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield the names and shapes of each shard's weights."""
    for first in range(0, LAYERS, _LAYERS_A_SHARD):
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(first, min(first + _LAYERS_A_SHARD, LAYERS)):
            prefix = f"model.layers.{layer}."
            head_size = HIDDEN // HEADS
            shapes |= {
                f"{prefix}self_attn.q_proj.weight": (HIDDEN, HIDDEN),
                f"{prefix}self_attn.k_proj.weight": (KV_HEADS * head_size, HIDDEN),
                f"{prefix}self_attn.v_proj.weight": (KV_HEADS * head_size, HIDDEN),
                f"{prefix}self_attn.o_proj.weight": (HIDDEN, HIDDEN),
                f"{prefix}mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
                f"{prefix}mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
                f"{prefix}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
                f"{prefix}input_layernorm.weight": (HIDDEN,),
                f"{prefix}post_attention_layernorm.weight": (HIDDEN,),
            }
        yield shapes
    yield {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    if len(shape) == 1:
        return np.ones(shape, np.float16)
    generator = np.random.default_rng(_number_of(name))
    return (generator.standard_normal(shape, np.float32) * 0.02).astype(np.float16)


def _number_of(name: str) -> int:
    """Return a number of a name that is the same in every process."""
    return sum((index + 1) * ord(letter) for index, letter in enumerate(name))
