"""One answer as the client sees it: an async iterator of its events, each once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from shared.errors import Cancelled, InternalError, PlatformError, error_from_body
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationResumed,
    GenerationStarted,
)
from shared.schemas.realtime import ChatRegenerate, ChatSend, GenerationQueued, ModelLoading

GenerationEvent = (
    GenerationQueued
    | ModelLoading
    | GenerationStarted
    | GenerationDelta
    | GenerationResumed
    | GenerationFinished
    | GenerationFailed
)
Question = ChatSend | ChatRegenerate


class Generation:
    """An answer that is on its way; iterate it for its events, the last is ``finished`` or ``failed``.

    What a reconnection replays is dropped here, so a delta comes once and ``seq`` has no gap.

    Attributes:
        generation_id: None until the gateway has accepted the question.
        chat_id: the chat it belongs to; None until then too, and after a bare resume.
        last_seq: ``seq`` of the last delta received, 0 before the first.
        cancel_wanted: whether its end was asked for.
    """

    def __init__(
        self,
        cancel: Callable[[Generation], Awaitable[None]],
        *,
        question: Question | None = None,
        generation_id: str | None = None,
        last_seq: int = 0,
    ) -> None:
        self.question = question
        self.generation_id = generation_id
        self.chat_id: str | None = None
        self.last_seq = last_seq
        self.cancel_wanted = False
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if question is None:
            self.accepted.set_result(None)
        self._cancel = cancel
        self._started = False
        self._end_came = asyncio.Event()
        self._events: asyncio.Queue[GenerationEvent | PlatformError | None] = asyncio.Queue()

    @property
    def ended(self) -> bool:
        """Whether its last event, or an error in its place, has come."""
        return self._end_came.is_set()

    def is_of(self, chat_id: str | None) -> bool:
        """Whether it answers a question in a chat, accepted or not."""
        return chat_id is not None and chat_id in (self.chat_id, self.question and self.question.chat_id)

    async def wait_for_end(self) -> None:
        """Return once it has ended, without taking its events."""
        await self._end_came.wait()

    async def cancel(self) -> None:
        """Ask the gateway to stop it; the end comes as its last event. Silent where it has ended."""
        await self._cancel(self)

    async def text(self) -> str:
        """Wait for the end and return the answer.

        Raises:
            PlatformError: the generation failed or was cancelled.
        """
        pieces: list[str] = []
        async for event in self:
            if isinstance(event, GenerationDelta) and event.channel == "answer":
                pieces.append(event.text)
            elif isinstance(event, GenerationFailed):
                raise error_from_body(event.error)
            elif isinstance(event, GenerationFinished) and event.finish_reason == "cancelled":
                raise Cancelled("the answer was cancelled")
        return "".join(pieces)

    async def __aiter__(self) -> AsyncIterator[GenerationEvent]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, PlatformError):
                raise event
            yield event

    def feed(self, event: GenerationEvent) -> None:
        """Take an event from the socket; the connection calls this."""
        if self.ended:
            return
        if isinstance(event, GenerationQueued):
            self.generation_id, self.chat_id = event.generation_id, event.chat_id
            self._accept()
            if self._started:
                return
        elif isinstance(event, GenerationStarted):
            self._accept()
            if self._started:
                return
            self._started = True
        elif isinstance(event, GenerationDelta):
            if event.seq <= self.last_seq:
                return
            if event.seq != self.last_seq + 1:
                self.fail(InternalError(f"the gateway left out deltas {self.last_seq + 1} to {event.seq - 1}"))
                return
            self.last_seq = event.seq
        self._events.put_nowait(event)
        if isinstance(event, GenerationFinished | GenerationFailed):
            self._accept()
            self._end()

    def fail(self, error: PlatformError) -> None:
        """End it with an error that is no event of the generation: refused, expired, or the gateway is gone."""
        if self.ended:
            return
        if not self.accepted.done():
            self.accepted.set_exception(error)
        self._events.put_nowait(error)
        self._end()

    def _accept(self) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)

    def _end(self) -> None:
        self._end_came.set()
        self._events.put_nowait(None)
