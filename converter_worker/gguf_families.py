"""Which GGUF architectures become checkpoints, and what transformers calls their parts."""

from collections.abc import Mapping
from dataclasses import dataclass

from converter_worker.gguf_file import GgufFile
from shared.errors import FamilyNotExported

#: Parts that every family here has.
_TENSOR_NAMES = {
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
_ADVICE = (
    "What works: GGUF files of the architectures {} (llama is Mistral's and SmolLM's too), or the model's own "
    "checkpoint by its hub id."
)


@dataclass(frozen=True)
class GgufFamily:
    """`is_interleaved`: the rotary halves of each query and key head stand interleaved in the file."""

    model_type: str
    class_name: str
    is_interleaved: bool
    names: Mapping[str, str]
    config: Mapping[str, object]


FAMILIES = {
    "llama": GgufFamily("llama", "LlamaForCausalLM", True, _TENSOR_NAMES, {}),
    "qwen2": GgufFamily("qwen2", "Qwen2ForCausalLM", False, _TENSOR_NAMES, {"use_sliding_window": False}),
    "qwen3": GgufFamily(
        "qwen3",
        "Qwen3ForCausalLM",
        False,
        {**_TENSOR_NAMES, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"},
        {"use_sliding_window": False},
    ),
}


def family_of(file: GgufFile) -> GgufFamily:
    """Return the family of a file.

    Raises:
        FamilyNotExported: it is none of those that become checkpoints here; the message says what works.
    """
    architecture = file.read("general.architecture", str)
    family = check_architecture(architecture)
    if file.find(f"{architecture}.expert_count", int):
        raise FamilyNotExported(
            f"{file.path.name} holds a mixture of experts, which cannot be converted from GGUF. {_advice()}",
            param="source_model",
        )
    return family


def check_architecture(architecture: str) -> GgufFamily:
    """Return the family of an architecture; raises FamilyNotExported as :func:`family_of` does."""
    family = FAMILIES.get(architecture)
    if family is None:
        raise FamilyNotExported(
            f"GGUF files of the architecture {architecture!r} cannot be converted. {_advice()}", param="source_model"
        )
    return family


def _advice() -> str:
    return _ADVICE.format(", ".join(FAMILIES))
