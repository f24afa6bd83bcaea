"""Two tiny tokenizers of the kinds that families use: byte level, and pieces with byte fallback."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers

from inference_worker.text.tokenizer import Tokenizer
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer


@functools.cache
def byte_level() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_tokenizer(Path(folder), 384)
        return Tokenizer.from_folder(Path(folder))


@functools.cache
def byte_fallback() -> Tokenizer:
    """As llama 2 has it: `▁` for blanks, one byte token each for what is not in the vocabulary, no leading blank."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefgh", "▁a", "▁b", "cd"]
    backend = tokenizers.Tokenizer(
        models.BPE(
            {piece: at for at, piece in enumerate(pieces)},
            [("▁", "a"), ("▁", "b"), ("c", "d")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return Tokenizer(backend)
