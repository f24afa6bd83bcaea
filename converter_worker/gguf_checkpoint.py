"""A GGUF file, written as a Hugging Face checkpoint folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from converter_worker.gguf_families import GgufFamily, family_of
from converter_worker.gguf_file import GgufFile
from converter_worker.gguf_rope import ROPE_FACTORS, rope_scaling
from converter_worker.gguf_tokenizer import write_json, write_tokenizer
from converter_worker.gguf_vocabulary import GGUFVocabulary, read_vocabulary
from converter_worker.sharded_weights import write_weights
from shared.errors import FamilyNotExported

if TYPE_CHECKING:
    from gguf import ReaderTensor

_DEFAULT_ROPE_THETA = 10_000.0


def write_checkpoint(gguf_file: Path, folder: Path) -> None:
    """Write config.json, generation_config.json, the weights and the tokenizer's files into `folder`.

    Weights are stored as float16: the file's blocks carry float16 scales, so float16 holds what they say, and it is the
    precision that the export keeps, so nothing is rounded twice.

    Raises:
        SourceCorrupt: it is no whole GGUF file.
        FamilyNotExported: its architecture, a tensor or its quantization is not known here.
        TokenizerMissing: its tokenizer is not known here.
    """
    file = GgufFile(gguf_file)
    family = family_of(file)
    vocabulary = read_vocabulary(file)
    write_tokenizer(vocabulary, folder)
    write_json(folder / "config.json", _config(file, family, vocabulary))
    write_json(folder / "generation_config.json", _generation_config(vocabulary))
    write_weights(_weights(file, family), folder)


def _config(file: GgufFile, family: GgufFamily, vocabulary: GGUFVocabulary) -> dict[str, object]:
    prefix = file.read("general.architecture", str)
    tensors = {tensor.name: tensor for tensor in file.tensors}
    embeddings = tensors.get("token_embd.weight")
    heads = file.read(f"{prefix}.attention.head_count", int)
    hidden_size = file.read(f"{prefix}.embedding_length", int)
    config: dict[str, object] = {
        "architectures": [family.class_name],
        "model_type": family.model_type,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": file.read(f"{prefix}.feed_forward_length", int),
        "max_position_embeddings": vocabulary.context_length,
        "num_attention_heads": heads,
        "num_hidden_layers": file.read(f"{prefix}.block_count", int),
        "num_key_value_heads": file.find(f"{prefix}.attention.head_count_kv", int) or heads,
        # The file holds float32; rounding gives back the decimal number that was written into the original.
        "rms_norm_eps": float(f"{file.read(f'{prefix}.attention.layer_norm_rms_epsilon', float):.6g}"),
        "rope_theta": file.find(f"{prefix}.rope.freq_base", float) or _DEFAULT_ROPE_THETA,
        "tie_word_embeddings": "output.weight" not in tensors,
        # The file tells the shape the other way round; there may be more rows than tokens.
        "vocab_size": len(vocabulary.tokens) if embeddings is None else int(embeddings.shape[-1]),
        "torch_dtype": "float16",
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.padding_token_id,
        **family.config,
    }
    head_size = file.find(f"{prefix}.attention.key_length", int) or hidden_size // heads
    # Qwen 3 takes 128 where nothing is said; the others divide the width by the heads.
    if family.model_type == "qwen3" or head_size * heads != hidden_size:
        config["head_dim"] = head_size
    if family.model_type == "llama" and "blk.0.attn_q.bias" in tensors:
        config["attention_bias"] = True
    if scaling := rope_scaling(file, prefix):
        config["rope_scaling"] = scaling
    return config


def _generation_config(vocabulary: GGUFVocabulary) -> dict[str, object]:
    return {
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.padding_token_id,
    }


def _weights(file: GgufFile, family: GgufFamily) -> Iterator[tuple[str, NDArray[np.float16]]]:
    prefix = file.read("general.architecture", str)
    heads = file.read(f"{prefix}.attention.head_count", int)
    key_value_heads = file.find(f"{prefix}.attention.head_count_kv", int) or heads
    for tensor in file.tensors:
        if tensor.name == ROPE_FACTORS:
            continue
        name = _tensor_name(tensor.name, family)
        weight = _dequantized(tensor)
        if family.is_interleaved and ".attn_q." in tensor.name:
            weight = _unpermute(weight, heads)
        elif family.is_interleaved and ".attn_k." in tensor.name:
            weight = _unpermute(weight, key_value_heads)
        yield name, np.ascontiguousarray(weight)


def _dequantized(tensor: "ReaderTensor") -> NDArray[np.float16]:
    from gguf.quants import dequantize

    try:
        weight: NDArray[np.float16] = dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
    except NotImplementedError as error:
        raise FamilyNotExported(
            f"Weights of the GGUF type {tensor.tensor_type.name} cannot be read. Take a file of another quantization, "
            "such as Q8_0 or Q4_K_M, or the model's own checkpoint.",
            param="source_model",
        ) from error
    return weight


def _unpermute(weight: NDArray[np.float16], heads: int) -> NDArray[np.float16]:
    """Undo GGUF's interleaving of a head's rotary halves; shape (heads * head_size, …) in and out."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _tensor_name(gguf_name: str, family: GgufFamily) -> str:
    parts = gguf_name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in family.names:
        return f"model.layers.{parts[1]}.{family.names[parts[2]]}.{parts[3]}"
    if len(parts) == 2 and parts[0] in family.names:
        return f"{family.names[parts[0]]}.{parts[1]}"
    raise FamilyNotExported(
        f"The GGUF file has a part that models of the type {family.model_type} do not have ({gguf_name}). Take the "
        "model's own checkpoint.",
        param="source_model",
    )
