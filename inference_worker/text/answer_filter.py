"""Cuts from an answer what a model writes although it is no part of it, by the rules that its variant brings."""

from __future__ import annotations

from shared.catalog.chat_form import StreamRules


class AnswerFilter:
    """Leaves out and replaces texts in a text that arrives in pieces.

    What comes out does not depend on how the text was cut. Text that may be the beginning of something to be cut is
    held back, so nothing is shown and taken back. Where several fit at one place the longest counts; what was put in is
    not looked at again.
    """

    def __init__(self, rules: StreamRules) -> None:
        self._texts = {**dict.fromkeys(rules.drop, ""), **rules.replace}
        self._at_start = rules.strip_start
        self._held = ""

    def push(self, text: str) -> str:
        """Text that is safe to show."""
        return self._shown(self._cut(text, whole=False))

    def flush(self) -> str:
        """The rest, when nothing follows."""
        return self._shown(self._cut("", whole=True))

    def _cut(self, text: str, *, whole: bool) -> str:
        if not self._texts:
            return text
        text, self._held = self._held + text, ""
        kept: list[str] = []
        at = 0
        while at < len(text):
            rest = text[at:]
            if not whole and any(len(cut) > len(rest) and cut.startswith(rest) for cut in self._texts):
                self._held = rest
                break
            found = max((cut for cut in self._texts if rest.startswith(cut)), key=len, default="")
            kept.append(self._texts[found] if found else text[at])
            at += len(found) or 1
        return "".join(kept)

    def _shown(self, text: str) -> str:
        if self._at_start and text:
            text = text.lstrip()
            self._at_start = not text
        return text
