"""Tiny random checkpoints with a byte-level tokenizer: the whole conversion in seconds, without a hub."""

import json
from pathlib import Path
from typing import Any, Literal

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Of ChatML's tokens in the tokenizer.
SPECIAL_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
_VOCABULARY = 384
_SEED = 7
_CORPUS = [
    "The quick brown fox jumps over the lazy dog. How are you doing? I am fine, and what about you there?",
    "system user assistant: the capital of France is Paris; two and two make four. 0 1 2 3 4 5 6 7 8 9",
]


def write_tiny_llama(
    folder: Path,
    *,
    dtype: Literal["float16", "bfloat16", "float32"] = "bfloat16",
    hidden_size: int = 128,
    layers: int = 2,
    vocabulary_size: int = _VOCABULARY,
    seed: int = _SEED,
) -> Path:
    """Write a random llama checkpoint in `dtype` into `folder` (made when missing) and return the folder."""
    model = random_model(
        "llama",
        seed,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocabulary_size,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    return write_checkpoint(model, folder, dtype)


def write_tiny_granite_hybrid(folder: Path) -> Path:
    """Write one of a family that only the second version stack exports: Mamba layers beside attention."""
    model = random_model(
        "granitemoehybrid",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        layer_types=["mamba", "attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=64,
        mamba_n_heads=4,
        mamba_d_head=32,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_expand=2,
        mamba_chunk_size=16,
        max_position_embeddings=512,
    )
    return write_checkpoint(model, folder)


def write_tiny_falcon_alibi(folder: Path) -> Path:
    """Write one of Falcon RW, whose ALiBi paged attention computes wrongly."""
    model = random_model(
        "falcon",
        hidden_size=128,
        num_attention_heads=4,
        num_hidden_layers=2,
        multi_query=False,
        parallel_attn=False,
        new_decoder_architecture=False,
        alibi=True,
        max_position_embeddings=512,
        # So large that attention is no mean over all tokens, where a wrong position would change nothing.
        initializer_range=0.1,
    )
    return write_checkpoint(model, folder)


def random_model(model_type: str, seed: int = _SEED, **fields: object) -> Any:
    """Return a model of transformers' with random weights; `fields` are those of its configuration."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(model_type, **{"vocab_size": _VOCABULARY, **SPECIAL_IDS, **fields})
    return transformers.AutoModelForCausalLM.from_config(config)


def write_checkpoint(model: Any, folder: Path, dtype: str = "bfloat16") -> Path:
    """Write a model in `dtype` with a tokenizer into `folder` (made when missing) and return the folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder, model.config.vocab_size)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def write_tiny_tokenizer(folder: Path, vocabulary_size: int) -> None:
    """Write a byte-level BPE tokenizer with ChatML's special tokens as ids 0, 1 and 2."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special[1],
        "eos_token": special[2],
        "pad_token": special[2],
        "unk_token": special[0],
        "model_max_length": 512,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
