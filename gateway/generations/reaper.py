"""Notices lost workers and lets another one go on with their generations; one gateway at a time does this."""

from __future__ import annotations

from gateway.generations.leadership import Leadership
from shared.errors import WorkerLost
from shared.log import get_logger
from shared.registry import Registry
from shared.waiting_queue import MAX_ATTEMPTS, WaitingQueue

_log = get_logger(__name__)


class Reaper:
    """Takes silent workers out of the registry."""

    def __init__(self, registry: Registry, queue: WaitingQueue, leadership: Leadership) -> None:
        self._registry = registry
        self._queue = queue
        self._leadership = leadership

    async def step(self) -> None:
        """Reap what is lost, where this gateway leads."""
        if not await self._leadership.is_ours():
            return
        for worker_id in await self._registry.lost_workers():
            reaped = await self._registry.reap(worker_id)
            if reaped is None:
                continue
            _log.warning("worker_lost", worker_id=worker_id, requeued=len(reaped.requeued), failed=len(reaped.spent))
            for generation_id in reaped.spent:
                error = WorkerLost(f"{MAX_ATTEMPTS} workers died under this generation. Try again.")
                await self._queue.fail(generation_id, error, only_waiting=False)
