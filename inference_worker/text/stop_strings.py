"""Ends an answer before a stop string, without ever showing a part of one."""

from __future__ import annotations

from collections.abc import Iterable


class StopStringMatcher:
    """Looks for stop strings in a text that arrives in pieces.

    The stop string that is complete first ends the text, however the text is cut into pieces; of those complete at
    the same character the longest counts. Text that may be the beginning of a stop string is held back. `include`
    shows the stop string that ended the text.
    """

    def __init__(self, stop_strings: Iterable[str] = (), *, include: bool = False) -> None:
        self._include = include
        self._stops = tuple(dict.fromkeys(stop for stop in stop_strings if stop))
        self._held = ""
        self.matched: str | None = None

    @property
    def held_back(self) -> str:
        """Text that was pushed and not released."""
        return self._held

    def push(self, text: str) -> str:
        """Text that is safe to show. After a match `matched` is set and nothing is released any more."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        # Smallest end first, then smallest start: what a reader of single characters would find first.
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, start, self.matched = min(found)
            self._held = ""
            return text[: end if self._include else start]
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end of an answer that no stop string ended."""
        text, self._held = self._held, ""
        return text


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop` and not all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
