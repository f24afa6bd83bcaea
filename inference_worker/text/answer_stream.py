"""An answer's way from token ids to what a client is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_worker.engine import TokenLogprob
from inference_worker.text.answer_filter import AnswerFilter
from inference_worker.text.channels import ChannelSplitter, Part
from inference_worker.text.text_stream import TextStream
from inference_worker.text.token_labels import TokenLabels
from shared.schemas.generation import TokenScore


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """`parts` may be shown now. `token_count` of the pushed tokens count; it is less than all after `stopped`."""

    parts: tuple[Part, ...]
    token_count: int
    stopped: bool = False


class AnswerStream:
    """Text and channels of one answer; like `TextStream` a pure function of the token ids pushed."""

    def __init__(self, text: TextStream, cuts: AnswerFilter, channels: ChannelSplitter, labels: TokenLabels) -> None:
        self._text = text
        self._cuts = cuts
        self._channels = channels
        self._labels = labels

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the answer."""
        return self._text.stopped

    def is_shown(self, token_id: int) -> bool:
        """Whether a token has text in the answer."""
        return self._text.is_shown(token_id)

    def scores(self, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob]) -> list[TokenScore]:
        """Log probabilities as clients get them, of the tokens that have text in the answer."""
        return [
            self._labels.score(token_id, logprob)
            for token_id, logprob in zip(token_ids, logprobs, strict=False)
            if self.is_shown(token_id)
        ]

    def push(self, token_ids: Sequence[int]) -> AnswerPiece:
        """What the tokens make showable; tokens after the one that completes a stop string are ignored."""
        if self.stopped:
            return AnswerPiece((), 0, stopped=True)
        piece = self._text.push(token_ids)
        parts = self._channels.push(self._cuts.push(piece.text))
        if piece.stopped:
            parts += [*self._channels.push(self._cuts.flush()), *self._channels.flush()]
        return AnswerPiece(tuple(parts), piece.token_count, piece.stopped)

    def flush(self) -> AnswerPiece:
        """The rest, when the engine ended the answer; a stop string may be completed only here."""
        if self.stopped:
            return AnswerPiece((), 0, stopped=True)
        piece = self._text.flush()
        text = self._cuts.push(piece.text) + self._cuts.flush()
        parts = [*self._channels.push(text), *self._channels.flush()]
        return AnswerPiece(tuple(parts), 0, piece.stopped)
