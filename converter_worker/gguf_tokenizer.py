"""A tokenizer rebuilt from the metadata of a GGUF file: byte-level BPE, or SentencePiece's BPE.

The import that transformers offers maps blanks of some vocabularies to `<|endoftext|>`, so the tokenizer is put
together here from the vocabulary and the merges themselves.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from converter_worker.gguf_vocabulary import GGUFVocabulary
from converter_worker.sentencepiece_merges import merges_of
from shared.errors import TokenizerMissing

#: GGUF's token types: a control token (`<|im_start|>` and its kind), and one that was added but is plain text.
CONTROL_TOKEN_TYPE = 3
USER_DEFINED_TOKEN_TYPE = 4
#: GGUF names of pre-tokenizers that split digits one by one and then work on bytes.
DIGIT_SPLITTING_PRE_TOKENIZERS = frozenset({"smollm"})
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{digits}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: GGUF names of pre-tokenizers that split by the pattern of Qwen 2 (digits one by one) or Llama 3 (by threes).
_PATTERNS = {
    "qwen2": _WORDS.replace("{digits}", ""),
    "deepseek-r1-qwen": _WORDS.replace("{digits}", ""),
    "llama-bpe": _WORDS.replace("{digits}", "{1,3}"),
    "llama3": _WORDS.replace("{digits}", "{1,3}"),
    "llama-v3": _WORDS.replace("{digits}", "{1,3}"),
}
_LLAMA3 = frozenset({"llama-bpe", "llama3", "llama-v3"})
_PLAIN_BYTES = frozenset({"gpt-2"})
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


def build_tokenizer(vocabulary: GGUFVocabulary) -> Tokenizer:
    """Build the fast tokenizer; raises TokenizerMissing for a pre-tokenizer that is not known here."""
    tokenizer = _sentencepiece(vocabulary) if vocabulary.model == "llama" else _byte_level(vocabulary)
    added = [
        AddedToken(token, special=token_type == CONTROL_TOKEN_TYPE, normalized=False)
        for token, token_type in zip(vocabulary.tokens, vocabulary.token_types, strict=False)
        if token_type in (CONTROL_TOKEN_TYPE, USER_DEFINED_TOKEN_TYPE)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    adds_bos = vocabulary.adds_bos
    if adds_bos is None:
        adds_bos = vocabulary.model == "llama" or vocabulary.pre_tokenizer in _LLAMA3
    if adds_bos and vocabulary.bos_token_id is not None:
        bos = vocabulary.tokens[vocabulary.bos_token_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0",
            pair=f"{bos}:0 $A:0 {bos}:1 $B:1",
            special_tokens=[(bos, vocabulary.bos_token_id)],
        )
    return tokenizer


def _byte_level(vocabulary: GGUFVocabulary) -> Tokenizer:
    name = vocabulary.pre_tokenizer
    if name not in {*DIGIT_SPLITTING_PRE_TOKENIZERS, *_PATTERNS, *_PLAIN_BYTES} or not vocabulary.merges:
        raise TokenizerMissing(
            f"The GGUF file splits texts in a way that is not known here ({name or 'it does not say how'}). What "
            f"works: {', '.join(sorted({*DIGIT_SPLITTING_PRE_TOKENIZERS, *_PATTERNS, *_PLAIN_BYTES}))}. Take a newer "
            "file, or the model's own checkpoint.",
            param="source_model",
        )
    merges = [(left, right) for left, right in (merge.split(" ", 1) for merge in vocabulary.merges)]
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(
        BPE(vocab=ids, merges=merges, fuse_unk=False, byte_fallback=False, ignore_merges=name in _LLAMA3)
    )
    pattern = _PATTERNS.get(name)
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=pattern is None)
    if name in DIGIT_SPLITTING_PRE_TOKENIZERS:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_of])
    elif pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    else:
        tokenizer.pre_tokenizer = bytes_of
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    return tokenizer


def _sentencepiece(vocabulary: GGUFVocabulary) -> Tokenizer:
    unknown = vocabulary.unknown_token_id
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(
        BPE(
            vocab=ids,
            merges=merges_of(vocabulary.tokens, vocabulary.scores),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = [normalizers.Prepend(_BLANK)] if vocabulary.adds_prefix_space else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", _BLANK)])
    strip = [decoders.Strip(" ", 1, 0)] if vocabulary.adds_prefix_space else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def write_tokenizer(vocabulary: GGUFVocabulary, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and the chat template into `folder`."""
    build_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    ids = {
        "bos_token": vocabulary.bos_token_id,
        "eos_token": vocabulary.eos_token_id,
        "unk_token": vocabulary.unknown_token_id,
        "pad_token": vocabulary.padding_token_id,
    }
    special = {name: vocabulary.tokens[token_id] for name, token_id in ids.items() if token_id is not None}
    is_plain = vocabulary.pre_tokenizer in DIGIT_SPLITTING_PRE_TOKENIZERS
    config = {
        "tokenizer_class": "GPT2TokenizerFast" if is_plain else "PreTrainedTokenizerFast",
        **({"add_prefix_space": False, "add_bos_token": False} if is_plain else {}),
        "clean_up_tokenization_spaces": False,
        "model_max_length": vocabulary.context_length,
        **({"chat_template": vocabulary.chat_template} if vocabulary.chat_template else {}),
        **special,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)
    if vocabulary.chat_template:
        (folder / "chat_template.jinja").write_text(vocabulary.chat_template, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write a file of a checkpoint."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
