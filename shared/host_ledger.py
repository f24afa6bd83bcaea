"""The memory of one host, shared out to the replicas of all agents on it."""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis
from shared.scripts import load_script


class HostLedger:
    """Reservations in bytes, by worker and ``model:variant``, on the transport Redis."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport
        self._reserve = load_script(transport, "ledger_reserve")

    async def reserve(self, host_id: str, worker_id: str, variant: str, needed_bytes: int, *, budget_bytes: int) -> int:
        """Reserve memory and return 0, or return how many bytes are missing; an earlier reservation is replaced."""
        return cast(int, await self._reserve(args=[host_id, worker_id, variant, needed_bytes, budget_bytes]))

    async def write(self, host_id: str, worker_id: str, variant: str, held_bytes: int) -> None:
        """Say what a loaded replica holds, whatever the budget is; 0 gives all of it back."""
        field = f"{worker_id}|{variant}"
        if held_bytes:
            await self._redis.hset(keys.host_ledger(host_id), field, str(held_bytes))
        else:
            await self._redis.hdel(keys.host_ledger(host_id), field)
