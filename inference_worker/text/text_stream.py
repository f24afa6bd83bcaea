"""An answer's way from token ids to shown text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inference_worker.text.detokenizer import Detokenizer
from inference_worker.text.stop_strings import StopStringMatcher
from inference_worker.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TextPiece:
    """`text` may be shown now. `token_count` of the pushed tokens count; it is less than all after `stopped`."""

    text: str
    token_count: int
    stopped: bool = False


class TextStream:
    """Detokenizer and stop matcher of one answer.

    It is a pure function of the token ids pushed: pushing journaled ids into a new one gives the text that was shown
    and leaves it at the same place, text held back included.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        end_token_ids: Collection[int] = (),
        shown_token_ids: Collection[int] = (),
        stop_strings: Sequence[str] = (),
        include_stop_text: bool = False,
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, end_token_ids, shown_token_ids)
        self._matcher = StopStringMatcher(stop_strings, include=include_stop_text)
        self._has_stops = bool(stop_strings)

    def is_shown(self, token_id: int) -> bool:
        """Whether a token has text in the answer."""
        return self._detokenizer.is_shown(token_id)

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the answer."""
        return self._matcher.matched is not None

    def push(self, token_ids: Sequence[int]) -> TextPiece:
        """Text that the tokens make showable; tokens after the one that completes a stop string are ignored."""
        if self.stopped:
            return TextPiece("", 0, stopped=True)
        if not self._has_stops:
            return TextPiece(self._detokenizer.push(token_ids), len(token_ids))
        text = ""
        for count, token_id in enumerate(token_ids, start=1):
            text += self._matcher.push(self._detokenizer.push((token_id,)))
            if self._matcher.matched is not None:
                return TextPiece(text, count, stopped=True)
        return TextPiece(text, len(token_ids))

    def flush(self) -> TextPiece:
        """The rest, when the engine ended the answer; a stop string may be completed only here."""
        if self.stopped:
            return TextPiece("", 0, stopped=True)
        text = self._matcher.push(self._detokenizer.flush())
        if self._matcher.matched is None:
            text += self._matcher.flush()
        return TextPiece(text, 0, stopped=self._matcher.matched is not None)
