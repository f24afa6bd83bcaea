"""What is asked: made-up questions of a wanted length, or the lines of a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from shared.errors import InvalidRequest

SYSTEM = "You are a helpful assistant that writes long and detailed answers."
_TOPICS = ("rivers", "bread", "bridges", "the moon", "chess", "bees", "glass", "trains", "salt", "maps")
#: One token each in most vocabularies.
_FILLER = (
    "the",
    "way",
    "home",
    "was",
    "long",
    "and",
    "we",
    "had",
    "time",
    "to",
    "see",
    "it",
    "all",
    "day",
    "by",
    "car",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A new chat's first message."""

    content: str
    system: str | None = SYSTEM


class Prompts(ABC):
    """Questions by number."""

    @abstractmethod
    def question(self, number: int) -> Question:
        """Return the question of a request; the same number gives the same question."""


class MadeUpPrompts(Prompts):
    """No two are alike from their first words on, so that no cache of earlier prompts helps."""

    def __init__(self, run: str, *, filler_words: int = 0) -> None:
        self._run = run
        self._filler_words = filler_words

    def question(self, number: int) -> Question:
        filler = " ".join(_FILLER[(number + at) % len(_FILLER)] for at in range(self._filler_words))
        asked = f"Number {number} of {self._run}. Write a long story about {_TOPICS[number % len(_TOPICS)]}."
        return Question(f"{asked} {filler}".rstrip())


class FilePrompts(Prompts):
    """The lines of a file, over and over."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InvalidRequest: it cannot be read or has no line with text.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{path} cannot be read: {error}", param="prompts") from error
        self._lines = [line.strip() for line in lines if line.strip()]
        if not self._lines:
            raise InvalidRequest(f"{path} has no prompt; it needs one a line", param="prompts")

    def question(self, number: int) -> Question:
        return Question(self._lines[number % len(self._lines)], system=None)
