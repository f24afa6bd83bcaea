"""A model's tokenizer, from `tokenizer.json` alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from shared.errors import VariantCorrupt

#: How tokenizers that fall back to bytes write one.
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def _byte_level() -> dict[str, int]:
    """The byte of each character of a byte-level vocabulary: printable ones are themselves, the others moved up."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTE_LEVEL = _byte_level()


class Tokenizer:
    """Encodes prompts and decodes answers as Hugging Face's fast tokenizers do, without their library.

    Decoding does no clean-up of blanks, so that text can be decoded piece by piece.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.special_tokens: dict[int, str] = {
            id_: token.content for id_, token in backend.get_added_tokens_decoder().items() if token.special
        }

    @classmethod
    def from_folder(cls, model_dir: Path) -> Tokenizer:
        """Raises VariantCorrupt when `tokenizer.json` is missing or malformed."""
        path = model_dir / "tokenizer.json"
        try:
            # The library raises plain exceptions of its own for a malformed file.
            return cls(tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:
            raise VariantCorrupt(f"{path.name} of {model_dir.name} cannot be read: {error}") from error

    def encode(self, text: str, *, add_special_tokens: bool = False) -> tuple[int, ...]:
        """Token ids. A rendered template has its special tokens in it already, hence the default."""
        return tuple(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def token_bytes(self, token_id: int) -> bytes | None:
        """The bytes that a token stands for, also where they are only a part of a character; None if unknown."""
        piece = self._backend.id_to_token(token_id)
        if piece is None:
            return None
        if _BYTE_PIECE.fullmatch(piece):
            return bytes([int(piece[3:5], 16)])
        try:
            return bytes(_BYTE_LEVEL[character] for character in piece)
        except KeyError:
            return None

    def decode(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """Text, with or without the special tokens; bytes that are no UTF-8 become U+FFFD."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=not special))
