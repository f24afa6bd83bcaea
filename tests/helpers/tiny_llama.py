"""A tiny random llama checkpoint with a byte-level tokenizer: the whole conversion in seconds, without a hub."""

import json
from pathlib import Path
from typing import Literal

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
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
    vocabulary_size: int = 384,
    seed: int = 7,
) -> Path:
    """Write a random llama checkpoint in `dtype` into `folder` (made when missing) and return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_tokenizer(folder, vocabulary_size)
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocabulary_size,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
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
