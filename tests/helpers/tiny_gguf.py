"""Tiny random GGUF files, with the weights that they were made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from numpy.typing import NDArray

from tests.helpers.tiny_checkpoints import CHAT_TEMPLATE

LAYERS, HIDDEN, HEADS, KEY_VALUE_HEADS, INNER = 2, 64, 4, 2, 96
Weights = dict[str, NDArray[np.float16]]
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def random_weights(architecture: str, vocabulary_size: int, *, tied: bool = False) -> Weights:
    """Return weights under the names that transformers gives them."""
    generator = np.random.default_rng(7)
    width = HIDDEN // HEADS

    def matrix(*shape: int) -> NDArray[np.float16]:
        return generator.normal(0, 0.05, shape).astype(np.float16)

    weights: Weights = {"model.embed_tokens.weight": matrix(vocabulary_size, HIDDEN)}
    for layer in range(LAYERS):
        parts = {
            "input_layernorm.weight": 1 + matrix(HIDDEN),
            "self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            "self_attn.k_proj.weight": matrix(KEY_VALUE_HEADS * width, HIDDEN),
            "self_attn.v_proj.weight": matrix(KEY_VALUE_HEADS * width, HIDDEN),
            "self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN),
            "post_attention_layernorm.weight": 1 + matrix(HIDDEN),
            "mlp.gate_proj.weight": matrix(INNER, HIDDEN),
            "mlp.up_proj.weight": matrix(INNER, HIDDEN),
            "mlp.down_proj.weight": matrix(HIDDEN, INNER),
        }
        if architecture == "qwen2":
            for name, size in (("q", HIDDEN), ("k", KEY_VALUE_HEADS * width), ("v", KEY_VALUE_HEADS * width)):
                parts[f"self_attn.{name}_proj.bias"] = matrix(size)
        if architecture == "qwen3":
            parts |= {"self_attn.q_norm.weight": 1 + matrix(width), "self_attn.k_norm.weight": 1 + matrix(width)}
        weights |= {f"model.layers.{layer}.{name}": part for name, part in parts.items()}
    weights["model.norm.weight"] = 1 + matrix(HIDDEN)
    if not tied:
        weights["lm_head.weight"] = matrix(vocabulary_size, HIDDEN)
    return weights


def interleaved(weight: NDArray[np.float16], heads: int) -> NDArray[np.float16]:
    """Return rows in the order in which llama.cpp's converter writes them."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(weight.shape))


def write_tiny_gguf(
    file: Path,
    architecture: str,
    weights: Weights,
    tokenizer: Mapping[str, object],
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F16,
    rope_factors: Sequence[float] = (),
    fields: Mapping[str, object] | None = None,
) -> Path:
    """Write a GGUF file as llama.cpp's converter does; norms and biases stay in float32."""
    writer = GGUFWriter(file, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    if architecture == "qwen3":
        writer.add_key_length(HIDDEN // HEADS)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, value in {**tokenizer, **(fields or {})}.items():
        _add(writer, name, value)
    rotary = {"self_attn.q_proj.": HEADS, "self_attn.k_proj.": KEY_VALUE_HEADS} if architecture == "llama" else {}
    for name, original in weights.items():
        gguf_name = _gguf_name(name)
        heads = next((count for part, count in rotary.items() if part in name), None)
        weight = original if heads is None else interleaved(original, heads)
        if weight.ndim == 1:
            writer.add_tensor(gguf_name, weight.astype(np.float32))
        else:
            writer.add_tensor(gguf_name, quantize(weight.astype(np.float32), kind), raw_dtype=kind)
    if rope_factors:
        writer.add_tensor("rope_freqs.weight", np.array(rope_factors, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _gguf_name(name: str) -> str:
    module, _, what = name.rpartition(".")
    if module in _OUTER_NAMES:
        return f"{_OUTER_NAMES[module]}.{what}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part]}.{what}"


def _add(writer: GGUFWriter, name: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        assert isinstance(value, list)
        writer.add_array(name, value)


def byte_level_tokenizer(pre_tokenizer: str, vocabulary: Mapping[str, int], merges: Sequence[str]) -> dict[str, object]:
    """Return the tokenizer's fields of a file with byte-level BPE; the first three tokens are control tokens."""
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
    }
