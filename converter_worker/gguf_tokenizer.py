"""A byte-level BPE tokenizer rebuilt from the metadata of a GGUF file.

The import that transformers offers maps blanks of this vocabulary to `<|endoftext|>`, so the tokenizer is put together
here from the vocabulary and the merges themselves.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

#: GGUF's token type of a control token (`<|im_start|>` and its kind).
CONTROL_TOKEN_TYPE = 3
#: GGUF names of pre-tokenizers that split digits one by one and then work on bytes.
DIGIT_SPLITTING_PRE_TOKENIZERS = frozenset({"smollm"})


@dataclass(frozen=True)
class GGUFVocabulary:
    """What a GGUF file says about its tokenizer; token ids index `tokens`."""

    pre_tokenizer: str
    tokens: Sequence[str]
    token_types: Sequence[int]
    merges: Sequence[str]
    bos_token_id: int
    eos_token_id: int
    unknown_token_id: int
    padding_token_id: int
    chat_template: str
    context_length: int


def build_tokenizer(vocabulary: GGUFVocabulary) -> Tokenizer:
    """Build the fast tokenizer; raises ValueError for a pre-tokenizer that is not known here."""
    if vocabulary.pre_tokenizer not in DIGIT_SPLITTING_PRE_TOKENIZERS:
        raise ValueError(f"unknown GGUF pre-tokenizer {vocabulary.pre_tokenizer!r}")
    merges = [(left, right) for left, right in (merge.split(" ", 1) for merge in vocabulary.merges)]
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(BPE(vocab=ids, merges=merges, fuse_unk=False, byte_fallback=False, ignore_merges=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, token_type in zip(vocabulary.tokens, vocabulary.token_types, strict=True)
            if token_type == CONTROL_TOKEN_TYPE
        ]
    )
    return tokenizer


def write_tokenizer(vocabulary: GGUFVocabulary, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat_template.jinja into `folder`."""
    build_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    special = {
        "bos_token": vocabulary.tokens[vocabulary.bos_token_id],
        "eos_token": vocabulary.tokens[vocabulary.eos_token_id],
        "unk_token": vocabulary.tokens[vocabulary.unknown_token_id],
        "pad_token": vocabulary.tokens[vocabulary.padding_token_id],
    }
    config = {
        "tokenizer_class": "GPT2TokenizerFast",
        "add_prefix_space": False,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": vocabulary.context_length,
        "chat_template": vocabulary.chat_template,
        **special,
    }
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)
    (folder / "chat_template.jinja").write_text(vocabulary.chat_template, encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
