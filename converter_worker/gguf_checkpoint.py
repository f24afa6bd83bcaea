"""A GGUF file of the llama family, written as a Hugging Face checkpoint folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from converter_worker.gguf_tokenizer import GGUFVocabulary, write_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFReader

Field = TypeVar("Field")

TENSOR_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write_checkpoint(gguf_file: Path, folder: Path) -> None:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files into `folder`.

    Weights are stored as float16: the file's 4-bit blocks carry float16 scales, so float16 holds what they say, and it
    is the precision that the export keeps, so nothing is rounded twice.

    Raises:
        ValueError: the file's architecture is not llama, or a tensor is not known.
    """
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf_file)
    if (architecture := _read(reader, "general.architecture", str)) != "llama":
        raise ValueError(f"a GGUF file of architecture {architecture!r} cannot be read")
    vocabulary = _vocabulary(reader)
    config = _config(reader, vocabulary)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", _generation_config(vocabulary))
    write_tokenizer(vocabulary, folder)
    weights_file = folder / "model.safetensors"
    save_file(dict(_weights(reader)), weights_file, metadata={"format": "pt"})
    # The library makes the file readable by its owner only.
    weights_file.chmod(0o644)


def _vocabulary(reader: "GGUFReader") -> GGUFVocabulary:
    return GGUFVocabulary(
        pre_tokenizer=_read(reader, "tokenizer.ggml.pre", str),
        tokens=_read(reader, "tokenizer.ggml.tokens", list),
        token_types=_read(reader, "tokenizer.ggml.token_type", list),
        merges=_read(reader, "tokenizer.ggml.merges", list),
        bos_token_id=_read(reader, "tokenizer.ggml.bos_token_id", int),
        eos_token_id=_read(reader, "tokenizer.ggml.eos_token_id", int),
        unknown_token_id=_read(reader, "tokenizer.ggml.unknown_token_id", int),
        padding_token_id=_read(reader, "tokenizer.ggml.padding_token_id", int),
        chat_template=_read(reader, "tokenizer.chat_template", str),
        context_length=_read(reader, "llama.context_length", int),
    )


def _config(reader: "GGUFReader", vocabulary: GGUFVocabulary) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": _read(reader, "llama.embedding_length", int),
        "intermediate_size": _read(reader, "llama.feed_forward_length", int),
        "max_position_embeddings": vocabulary.context_length,
        "num_attention_heads": _read(reader, "llama.attention.head_count", int),
        "num_hidden_layers": _read(reader, "llama.block_count", int),
        "num_key_value_heads": _read(reader, "llama.attention.head_count_kv", int),
        # The file holds float32; rounding gives back the decimal number that was written into the original.
        "rms_norm_eps": float(f"{_read(reader, 'llama.attention.layer_norm_rms_epsilon', float):.6g}"),
        "rope_theta": _read(reader, "llama.rope.freq_base", float),
        "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in reader.tensors),
        "vocab_size": len(vocabulary.tokens),
        "torch_dtype": "float16",
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.padding_token_id,
    }


def _generation_config(vocabulary: GGUFVocabulary) -> dict[str, object]:
    return {
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.padding_token_id,
    }


def _weights(reader: "GGUFReader") -> Iterator[tuple[str, NDArray[np.float16]]]:
    from gguf.quants import dequantize

    heads = _read(reader, "llama.attention.head_count", int)
    key_value_heads = _read(reader, "llama.attention.head_count_kv", int)
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
        if tensor.name.endswith("attn_q.weight"):
            weight = _unpermute(weight, heads)
        elif tensor.name.endswith("attn_k.weight"):
            weight = _unpermute(weight, key_value_heads)
        yield _tensor_name(tensor.name), np.ascontiguousarray(weight)


def _unpermute(weight: NDArray[np.float16], heads: int) -> NDArray[np.float16]:
    """Undo GGUF's interleaving of a head's rotary halves; shape (heads * head_size, hidden) in and out."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _tensor_name(gguf_name: str) -> str:
    parts = gguf_name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in TENSOR_NAMES:
        return f"model.layers.{parts[1]}.{TENSOR_NAMES[parts[2]]}.{parts[3]}"
    if len(parts) == 2 and parts[0] in TENSOR_NAMES:
        return f"{TENSOR_NAMES[parts[0]]}.{parts[1]}"
    raise ValueError(f"unknown GGUF tensor {gguf_name!r}")


def _read(reader: "GGUFReader", name: str, kind: type[Field]) -> Field:
    field = reader.get_field(name)
    value = None if field is None else field.contents()
    if not isinstance(value, kind):
        raise ValueError(f"the GGUF file lacks {name}")
    return value


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
