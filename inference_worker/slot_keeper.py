"""Gives slots back to the registry and takes the next waiting generations for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inference_worker.redis_patience import Backoff
from shared.redis_client import AWAY
from shared.registry import Registry
from shared.waiting_queue import WaitingQueue


class SlotKeeper:
    """One registry entry a ready replica: how many generations may still be assigned to it.

    Giving slots back is not idempotent. After a call without an answer the number is set afresh from what runs here,
    which may be too many: assignments that were not read yet are not in it, and wait inside the engine. Each later
    call holds the number to what can be free by this worker's own count, so that it is right again at the latest when
    the replica is idle.
    """

    def __init__(
        self,
        queue: WaitingQueue,
        registry: Registry,
        *,
        worker_id: Callable[[], str],
        free_slots: Callable[[str], int | None],
    ) -> None:
        """`free_slots` tells a variant's free slots by this worker's own count, None where it is not ready."""
        self._queue = queue
        self._registry = registry
        self._worker_id = worker_id
        self._free_slots = free_slots
        self._released: dict[str, int] = {}
        self._stale: set[str] = set()
        self._wake = asyncio.Event()

    def release(self, variant: str, count: int = 1) -> None:
        """Slots of `variant` became free."""
        self._released[variant] = self._released.get(variant, 0) + count
        self._wake.set()

    def publish(self, variant: str) -> None:
        """Set the registry's number afresh: a replica became ready, closed, or the worker has a new id."""
        self._stale.add(variant)
        self._wake.set()

    async def run(self) -> None:
        """Talk to Redis until cancelled."""
        backoff = Backoff("slots")
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
            except AWAY as error:
                self._wake.set()
                await backoff.pause(error)
            else:
                backoff.succeeded()

    async def close(self, variant: str) -> None:
        """Take no more generations for a variant, from now on."""
        self._released.pop(variant, None)
        # A number that is under way may be set after this.
        self.publish(variant)
        await self._registry.set_slots(self._worker_id(), variant, None)

    async def _flush(self) -> None:
        while self._stale:
            variant = self._stale.pop()
            # Both are taken out before Redis is asked: what changes meanwhile is put in again and not overlooked.
            self._released.pop(variant, None)
            free = self._free_slots(variant)
            try:
                await self._registry.set_slots(self._worker_id(), variant, free)
                if free:
                    await self._queue.take(self._worker_id(), variant)
            except AWAY:
                self._stale.add(variant)
                raise
        while self._released:
            variant, count = self._released.popitem()
            free = self._free_slots(variant)
            if free is None:
                continue
            try:
                await self._queue.take(self._worker_id(), variant, count, free)
            except AWAY:
                self._stale.add(variant)
                raise
