"""One generation in this worker: from token ids to journal entries. It knows no Redis and no engine."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from inference_worker.engine import Finish, TokenEvent
from inference_worker.text.answer_stream import AnswerStream
from inference_worker.text.channels import Part, joined
from shared.errors import InternalError, KvCacheExhausted, PlatformError, WorkerLost
from shared.journal import EntryKind, JournalEntry, NewEntry, encode_frame
from shared.schemas.generation import (
    FinishReason,
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationResumed,
    GenerationStarted,
    Timings,
    TokenScore,
    Usage,
)
from shared.schemas.workers import Generate

_FINISH_REASONS: dict[Finish, FinishReason] = {Finish.STOP: "stop", Finish.LENGTH: "length"}


@dataclass(frozen=True, slots=True)
class Advance:
    """Entries to be journaled; `ended` when the last of them ends the generation."""

    entries: tuple[NewEntry, ...]
    ended: bool = False


class RunningGeneration:
    """Numbers deltas, counts tokens, and makes the one end."""

    def __init__(self, assignment: Generate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.id = assignment.generation_id
        self.attempt = assignment.attempt
        self.variant = assignment.variant
        self.token_ids: array[int] = array("I")
        """Emitted tokens of all attempts, those held back included."""
        self.prompt_tokens = 0
        self.cached_tokens: int | None = None
        """Of the prompt, what the engine did not compute again; None where it cannot tell."""
        self.ended = False
        self.taken_ns = time.time_ns()
        """Unix time at which this worker got it."""
        self._waited_ms = max(0.0, assignment.waited_ms)
        self._clock = clock
        self._begin = clock()
        self._first_token_ms: float | None = None
        self._seq = 0
        self._text: AnswerStream | None = None
        self._scores: list[TokenScore] = []
        """Of tokens whose text was not told yet."""

    def started(self, frame: GenerationStarted, text: AnswerStream) -> NewEntry:
        """The first entry of a generation that nobody had before."""
        self._text = text
        self.prompt_tokens = frame.prompt_tokens
        return self._entry("started", (), encode_frame(frame))

    def resumed(
        self,
        entries: Sequence[JournalEntry],
        text: AnswerStream,
        *,
        prompt_tokens: int,
        worker_id: str,
        scored: bool = False,
    ) -> NewEntry:
        """Go on after another attempt: replay what it journaled, and mark the seam.

        Raises:
            InternalError: the tokens do not give what was delivered, so no honest continuation exists.
            WorkerLost: log probabilities were asked for (`scored`) and those of tokens held back are gone.
        """
        delivered: list[Part] = []
        replayed: list[Part] = []
        scores = 0
        for entry in entries:
            self._seq = max(self._seq, entry.seq)
            self.token_ids.extend(entry.token_ids)
            replayed.extend(text.push(entry.token_ids).parts)
            if entry.kind == "delta":
                frame = orjson.loads(entry.frame)
                if frame["text"]:
                    delivered.append(Part(frame["channel"], frame["text"]))
                scores += len(frame.get("logprobs") or ())
        if joined(replayed) != joined(delivered):
            raise InternalError("The answer could not be continued after its worker was lost.")
        if scored and scores != sum(map(text.is_shown, self.token_ids)):
            raise WorkerLost("The worker was lost, and with it the log probabilities of the next tokens.")
        self._text = text
        self.prompt_tokens = prompt_tokens
        resumed = GenerationResumed(generation_id=self.id, worker_id=worker_id, reason="worker_lost")
        return self._entry("resumed", (), encode_frame(resumed))

    def end_of_replay(self, *, end_token_ids: frozenset[int], max_new_tokens: int) -> Advance | None:
        """The end of a generation whose lost worker had made all of it but for the last entry; else None."""
        if self._stream.stopped:
            return self._finish("stop", ())
        if self.token_ids and self.token_ids[-1] in end_token_ids:
            return self._finish("stop", (), flush=True)
        if len(self.token_ids) >= max_new_tokens:
            return self._finish("length", (), flush=True)
        return None

    def advance(self, event: TokenEvent) -> Advance:
        """What an engine's event adds to the journal; nothing once the generation has ended."""
        if self.ended:
            return Advance((), ended=True)
        if event.finish is not None and event.finish.is_error:
            return Advance((self.failed(_engine_error(event.finish)),), ended=True)
        if event.cached_tokens is not None:
            # The engine's prompt of a later attempt has the answer's beginning in it.
            self.cached_tokens = min(event.cached_tokens, self.prompt_tokens)
        piece = self._stream.push(event.token_ids)
        token_ids = event.token_ids[: piece.token_count]
        self.token_ids.extend(token_ids)
        if event.logprobs:
            self._scores += self._stream.scores(token_ids, event.logprobs)
        if piece.stopped:
            return self._finish("stop", token_ids, parts=piece.parts)
        if event.finish is not None:
            return self._finish(_FINISH_REASONS[event.finish], token_ids, parts=piece.parts, flush=True)
        return Advance(tuple(self._deltas(piece.parts, token_ids)))

    def cancelled(self) -> NewEntry:
        """The end that the client asked for; what is held back is not shown any more."""
        return self._finished_entry("cancelled", ())

    def failed(self, error: PlatformError) -> NewEntry:
        """The bad end."""
        self.ended = True
        return self._entry("failed", (), encode_frame(GenerationFailed(generation_id=self.id, error=error.body())))

    @property
    def timings(self) -> Timings:
        """Its times so far."""
        return Timings(
            queue_ms=round(self._waited_ms, 1),
            first_token_ms=self._first_token_ms,
            total_ms=round(self._waited_ms + self._elapsed_ms(), 1),
        )

    @property
    def _stream(self) -> AnswerStream:
        if self._text is None:
            raise InternalError("a generation got tokens before its prompt")
        return self._text

    def _finish(
        self, reason: FinishReason, token_ids: Sequence[int], *, parts: Sequence[Part] = (), flush: bool = False
    ) -> Advance:
        if flush:
            rest = self._stream.flush()
            parts = joined((*parts, *rest.parts))
            # The last piece, an unfinished character say, may complete a stop string.
            reason = "stop" if rest.stopped else reason
        if not parts and self._scores:
            # Tokens without text of their own have their log probabilities told all the same.
            parts = (Part("answer", ""),)
        if not parts:
            return Advance((self._finished_entry(reason, token_ids),), ended=True)
        return Advance((*self._deltas(parts, token_ids), self._finished_entry(reason, ())), ended=True)

    def _deltas(self, parts: Sequence[Part], token_ids: Sequence[int]) -> list[NewEntry]:
        """An entry a part; the tokens are those of the first, and the log probabilities come with the last."""
        if not parts:
            return [self._entry("held", token_ids, b"")]
        if self._first_token_ms is None:
            self._first_token_ms = round(self._waited_ms + self._elapsed_ms(), 1)
        entries: list[NewEntry] = []
        for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            scores: tuple[TokenScore, ...] | None = None
            if not left and self._scores:
                scores, self._scores = tuple(self._scores), []
            self._seq += 1
            frame = GenerationDelta(
                generation_id=self.id, seq=self._seq, text=part.text, channel=part.channel, logprobs=scores
            )
            entries.append(self._entry("delta", token_ids, encode_frame(frame)))
            token_ids = ()
        return entries

    def _finished_entry(self, reason: FinishReason, token_ids: Sequence[int]) -> NewEntry:
        self.ended = True
        frame = GenerationFinished(
            generation_id=self.id,
            seq=self._seq,
            finish_reason=reason,
            usage=Usage(
                prompt_tokens=self.prompt_tokens,
                completion_tokens=len(self.token_ids),
                cached_tokens=self.cached_tokens,
            ),
            timings=self.timings,
        )
        return self._entry("finished", token_ids, encode_frame(frame))

    def _entry(self, kind: EntryKind, token_ids: Sequence[int], frame: bytes) -> NewEntry:
        return NewEntry(self.id, self.attempt, kind, self._seq, tuple(token_ids), frame)

    def _elapsed_ms(self) -> float:
        return round((self._clock() - self._begin) * 1000, 1)


def _engine_error(finish: Finish) -> PlatformError:
    if finish is Finish.KV_CACHE_EXHAUSTED:
        return KvCacheExhausted(
            "The worker ran out of KV cache memory. Try again, shorten the chat, or raise OVCHAT_KV_CACHE_BYTES."
        )
    return InternalError("The engine refused the prompt.")
