"""Splits reasoning between `<think>` and `</think>` from the answer."""

from __future__ import annotations

from enum import Enum, auto

from inference_worker.text.channels import ChannelSplitter, Part
from inference_worker.text.stop_strings import overlap

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"


class _Place(Enum):
    START = auto()
    REASONING = auto()
    GAP = auto()
    ANSWER = auto()


class ThinkTags(ChannelSplitter):
    """Reasoning comes once, at the beginning; blanks around it are dropped. The rest goes to the splitter inside."""

    def __init__(self, answer: ChannelSplitter, *, starts_inside: bool) -> None:
        """`starts_inside`: the prompt ended with the opening tag, as some templates have it."""
        self._answer = answer
        self._starts_inside = starts_inside
        self._place = _Place.START
        self._held = ""
        self._said_any = False

    def push(self, text: str) -> list[Part]:
        if self._place is _Place.ANSWER:
            return self._answer.push(text)
        self._held += text
        parts: list[Part] = []
        if self._place is _Place.START:
            self._begin()
        if self._place is _Place.REASONING:
            parts += self._reason()
        if self._place is _Place.GAP:
            self._held = self._held.lstrip()
            if self._held:
                self._place = _Place.ANSWER
        if self._place is _Place.ANSWER:
            parts += self._answer.push(self._held)
            self._held = ""
        return parts

    def flush(self) -> list[Part]:
        held, self._held = self._held, ""
        if self._place is _Place.REASONING or (self._place is _Place.START and self._starts_inside):
            return self._reasoning(held.rstrip())
        return [*self._answer.push(held), *self._answer.flush()]

    def _begin(self) -> None:
        text = self._held.lstrip()
        if text.startswith(OPEN_TAG):
            self._held = text[len(OPEN_TAG) :]
            self._place = _Place.REASONING
        elif not OPEN_TAG.startswith(text):
            self._place = _Place.REASONING if self._starts_inside else _Place.ANSWER

    def _reason(self) -> list[Part]:
        before, tag, after = self._held.partition(CLOSE_TAG)
        if tag:
            self._place = _Place.GAP
            self._held = after
            return self._reasoning(before.rstrip())
        sure = self._held[: len(self._held) - overlap(self._held, CLOSE_TAG)].rstrip()
        self._held = self._held[len(sure) :]
        return self._reasoning(sure)

    def _reasoning(self, text: str) -> list[Part]:
        if not self._said_any:
            text = text.lstrip()
        self._said_any = self._said_any or bool(text)
        return [Part("reasoning", text)] if text else []
