"""The one door to the waiting queue: every generation, of a chat or not, is admitted here."""

from __future__ import annotations

from gateway.generations.dispatcher import Dispatcher
from shared import keys
from shared.errors import Overloaded
from shared.redis_client import AsyncRedis
from shared.schemas.generation import GenerationRequest
from shared.waiting_queue import WaitingQueue


class QueueEntry:
    """Lets a generation wait, watched by this gateway, and places it at once where a slot is free."""

    def __init__(
        self, transport: AsyncRedis, queue: WaitingQueue, dispatcher: Dispatcher, *, gateway_id: str, max_waiting: int
    ) -> None:
        self._redis = transport
        self._queue = queue
        self._dispatcher = dispatcher
        self._gateway_id = gateway_id
        self._max_waiting = max_waiting

    async def refuse_when_full(self, variant: str) -> None:
        """Say no before anything is stored for a generation that could not wait.

        Raises:
            Overloaded: as many as may wait for ``model:variant`` already do.
        """
        if await self._redis.zcard(keys.waiting(variant)) >= self._max_waiting:
            raise self._overloaded()

    async def enter(self, request: GenerationRequest) -> int:
        """Queue a generation and return how many stand before it; the same generation id is queued once.

        Raises:
            Overloaded: the queue is full.
        """
        enqueued = await self._queue.enqueue(request, self._gateway_id, self._max_waiting)
        if enqueued.outcome == "overloaded":
            raise self._overloaded()
        if enqueued.outcome == "queued":
            await self._dispatcher.place(request.variant_key)
        return enqueued.position

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self._max_waiting} generations wait for this model already. Try again later.", retry_after_seconds=5
        )
