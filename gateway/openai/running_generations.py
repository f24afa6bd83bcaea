"""The generations that answer one request, from their admission to their last frame."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from gateway.exception_handlers import redis_error
from gateway.generations.relay import Subscription
from gateway.limits.reservation import tokens_to_reserve
from gateway.principal import Standing
from gateway.state import GatewayState
from shared import keys
from shared.errors import Draining, InvalidApiKey, PlatformError, WorkerLost
from shared.log import get_logger
from shared.redis_client import AWAY
from shared.schemas.generation import GenerationFailed, GenerationFinished, GenerationRequest, JournalFrame

_log = get_logger(__name__)
_FRAME: TypeAdapter[JournalFrame] = TypeAdapter(JournalFrame)
#: Seconds before the end of a stopping gateway's grace at which open answers are given up; and seconds that a client
#: has to read of its key's end.
_LAST_WORDS_SECONDS = 1.0
#: Seconds of silence after which it is looked whether Redis still knows of what is waited for.
LOSS_CHECK_SECONDS = 2.0
#: Seconds that a Redis which does not answer is waited for.
REDIS_PATIENCE_SECONDS = 15.0


class RunningGenerations:
    """Merges the frames of several generations; whatever still runs when the context ends is cancelled.

    Attributes:
        given_up: set where a client whose key has ended does not even read of it.
    """

    def __init__(self, state: GatewayState, standing: Standing, requests: Sequence[GenerationRequest]) -> None:
        self.given_up = asyncio.Event()
        self._state = state
        self._standing = standing
        self._requests = requests
        # Two views of what is not over: frames are still to be read, and the generation itself still runs.
        self._open: dict[int, GenerationRequest] = {}
        self._running: dict[int, GenerationRequest] = {}
        self._subscriptions: list[Subscription] = []
        self._frames: asyncio.Queue[tuple[int, JournalFrame]] = asyncio.Queue()
        self._frames_heard = 0
        self._watches: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Follow what was admitted, and learn of the gateway's end, the key's end, and of what Redis has lost."""
        watches = (self._end_with_gateway(), self._end_with_key(), self._notice_loss())
        self._watches = [asyncio.create_task(watch) for watch in watches]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what still runs and stop following."""
        for watch in self._watches:
            watch.cancel()
        for subscription in self._subscriptions:
            self._state.relay.unsubscribe(subscription)
        try:
            for request in self._running.values():
                await self._state.queue.cancel(request.generation_id, request.user)
        except AWAY:
            # The answer has its end already; what still runs goes on unread.
            _log.warning("cancel_lost", generation_ids=[request.generation_id for request in self._running.values()])

    async def admit(self) -> None:
        """Queue every generation, all or none.

        Raises:
            PlatformError: one was refused; those before it are cancelled.
        """
        if self._state.draining.is_set:
            raise Draining("The gateway restarts. Try again in a moment.")
        entry, principal = self._state.queue_entry, self._standing.principal
        tokens = {request.generation_id: tokens_to_reserve(request) for request in self._requests}
        await entry.admit(principal, self._requests[0].variant_key, tokens)
        try:
            for index, request in enumerate(self._requests):
                # Before it is queued: what fails after that leaves nothing running that nobody reads.
                self._open[index] = self._running[index] = request
                await entry.enter(request, principal)
        except BaseException:
            await entry.give_back(principal, *tokens)
            await self.__aexit__(None, None, None)
            raise

    async def follow(self) -> None:
        """Start receiving frames."""
        for index, request in tuple(self._open.items()):
            deliver = functools.partial(self._put, index)
            self._subscriptions.append(await self._state.relay.subscribe(request.generation_id, deliver))

    @property
    def any_open(self) -> bool:
        """Whether frames are still to come."""
        return bool(self._open)

    async def next_frame(self, timeout_seconds: float | None) -> tuple[int, JournalFrame] | None:
        """Return the next frame with its choice's index; None where none came in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                index, frame = await self._frames.get()
        except TimeoutError:
            return None
        if isinstance(frame, GenerationFinished | GenerationFailed):
            self._open.pop(index, None)
        return index, frame

    def _put(self, index: int, frame: bytes) -> None:
        self._frames_heard += 1
        parsed = _FRAME.validate_json(frame)
        if isinstance(parsed, GenerationFinished | GenerationFailed):
            self._running.pop(index, None)
        self._frames.put_nowait((index, parsed))

    async def _end_with_gateway(self) -> None:
        await self._state.draining.wait()
        await asyncio.sleep(max(0.0, self._state.settings.shutdown_grace_seconds - _LAST_WORDS_SECONDS))
        self._interrupt(Draining("The gateway restarts. Ask again."))

    async def _end_with_key(self) -> None:
        """End the wait at once, with what is unread left out, where the key is revoked or its user erased."""
        await self._standing.ended.wait()
        while not self._frames.empty():
            self._frames.get_nowait()
        self._interrupt(InvalidApiKey("This key was revoked, or the session has ended."))
        await asyncio.sleep(_LAST_WORDS_SECONDS)
        self.given_up.set()

    async def _notice_loss(self) -> None:
        """End the wait where Redis has lost a generation, since nobody is left to end it, or does not come back."""
        heard, answered_at = -1, time.monotonic()
        while True:
            await asyncio.sleep(LOSS_CHECK_SECONDS)
            is_silent, heard = heard == self._frames_heard, self._frames_heard
            try:
                if is_silent and await self._is_any_lost():
                    self._interrupt(WorkerLost("The generation was lost. Ask again."))
                    return
                answered_at = time.monotonic()
            except AWAY as error:
                if time.monotonic() - answered_at > REDIS_PATIENCE_SECONDS:
                    self._interrupt(redis_error(error))
                    return

    async def _is_any_lost(self) -> bool:
        # What has ended may have been forgotten since; it is not lost.
        names = [keys.generation_state(request.generation_id) for request in self._running.values()]
        return bool(names) and await self._state.transport.exists(*names) < len(names)

    def _interrupt(self, error: PlatformError) -> None:
        """End the wait with an error; the generations themselves are cancelled when the context ends."""
        for index, request in self._open.items():
            failed = GenerationFailed(generation_id=request.generation_id, error=error.body())
            self._frames.put_nowait((index, failed))
