"""Token ids to text by the checker's own means; nothing of the platform takes part."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path


class Decoder(ABC):
    """Decodes whole answers, special tokens left out."""

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD."""


class ByteLevelDecoder(Decoder):
    """Reads the vocabulary of a byte-level tokenizer and puts bytes together, without any library."""

    def __init__(self, path: Path) -> None:
        stored = json.loads(path.read_text(encoding="utf-8"))
        special = {token["id"] for token in stored["added_tokens"] if token["special"]}
        byte_of = _bytes_by_letter()
        self._bytes = {
            id_: bytes(byte_of[letter] for letter in token)
            for token, id_ in stored["model"]["vocab"].items()
            if id_ not in special
        }

    def decode(self, token_ids: Sequence[int]) -> str:
        return b"".join(self._bytes.get(id_, b"") for id_ in token_ids).decode("utf-8", errors="replace")


class LibraryDecoder(Decoder):
    """The `tokenizers` library on the whole answer at once."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))

    def decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the stop string that is complete first, None where there is none."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)[1]] if found else None


def _bytes_by_letter() -> dict[str, int]:
    """Return GPT-2's alphabet: printable bytes stand for themselves, the others for the letters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    letters = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return letters | {chr(0x100 + at): byte for at, byte in enumerate(others)}
