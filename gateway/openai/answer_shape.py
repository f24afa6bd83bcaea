"""How the two endpoints write the same answer: as chunks of a stream, and whole."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from shared.schemas.generation import GenerationDelta, GenerationFinished
from shared.schemas.models import VariantRecord

Json = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What every chunk of an answer and the whole answer begin with; ``created`` in seconds since the epoch."""

    id: str
    created: int
    model: str
    fingerprint: str


class AnswerShape(ABC):
    """Writes one answer; it reads each choice's frames once, in order."""

    @abstractmethod
    def opening(self) -> list[Json]:
        """Return the chunks that a stream begins with."""

    @abstractmethod
    def delta(self, index: int, delta: GenerationDelta) -> list[Json]:
        """Return the chunks of a delta of one choice."""

    @abstractmethod
    def end(self, index: int, end: GenerationFinished) -> list[Json]:
        """Return the chunks of a choice's good end."""

    @abstractmethod
    def usage(self, ends: Mapping[int, GenerationFinished]) -> Json:
        """Return the last chunk, with the tokens counted."""

    @abstractmethod
    def whole(self, ends: Mapping[int, GenerationFinished]) -> Json:
        """Return the answer of all deltas that were read, for who did not ask for a stream."""


def fingerprint(variant: VariantRecord) -> str:
    """Return the name of what answers: it changes with the weights and with the versions that made them."""
    text = f"{variant.key} {variant.created_at} {sorted(variant.versions.items())}"
    return "fp_" + hashlib.sha256(text.encode()).hexdigest()[:12]


def count_usage(ends: Mapping[int, GenerationFinished], prompts: Sequence[int]) -> Json:
    """Return ``usage``: a prompt counts once, however many choices answer it; ``prompts`` has each one's choice."""
    prompt_tokens = sum(ends[index].usage.prompt_tokens for index in prompts)
    completion_tokens = sum(end.usage.completion_tokens for end in ends.values())
    usage: Json = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    cached = [ends[index].usage.cached_tokens for index in prompts]
    known = [tokens for tokens in cached if tokens is not None]
    if known:
        usage["prompt_tokens_details"] = {"cached_tokens": sum(known)}
    return usage
