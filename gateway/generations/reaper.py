"""Notices lost workers and lets another one go on with their generations; one gateway at a time does this."""

from __future__ import annotations

from shared import keys
from shared.errors import WorkerLost
from shared.log import get_logger
from shared.redis_client import AsyncRedis, get_text
from shared.registry import Registry
from shared.waiting_queue import MAX_ATTEMPTS, WaitingQueue

_log = get_logger(__name__)

#: Milliseconds that a gateway keeps the lease without renewing it.
LEASE_MS = 3000


class Reaper:
    """Takes silent workers out of the registry."""

    def __init__(self, transport: AsyncRedis, registry: Registry, queue: WaitingQueue, *, gateway_id: str) -> None:
        self._redis = transport
        self._registry = registry
        self._queue = queue
        self._gateway_id = gateway_id

    async def step(self) -> None:
        """Reap what is lost, where this gateway has the lease."""
        if not await self._has_lease():
            return
        for worker_id in await self._registry.lost_workers():
            reaped = await self._registry.reap(worker_id)
            if reaped is None:
                continue
            _log.warning("worker_lost", worker_id=worker_id, requeued=len(reaped.requeued), failed=len(reaped.spent))
            for generation_id in reaped.spent:
                error = WorkerLost(f"{MAX_ATTEMPTS} workers died under this generation. Try again.")
                await self._queue.fail(generation_id, error, only_waiting=False)

    async def _has_lease(self) -> bool:
        if await self._redis.set(keys.REAPER_LEASE, self._gateway_id, nx=True, px=LEASE_MS):
            return True
        if await get_text(self._redis, keys.REAPER_LEASE) == self._gateway_id:
            await self._redis.pexpire(keys.REAPER_LEASE, LEASE_MS)
            return True
        return False
