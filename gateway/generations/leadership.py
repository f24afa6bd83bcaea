"""The lease by which one gateway at a time looks after the pool."""

from __future__ import annotations

from shared import keys
from shared.redis_client import AsyncRedis, get_text

#: Milliseconds that a gateway keeps the lease without renewing it.
LEASE_MS = 3000


class Leadership:
    """Held while this gateway renews it; another takes it over once it stops. What is done under it is idempotent."""

    def __init__(self, transport: AsyncRedis, *, gateway_id: str) -> None:
        self._redis = transport
        self._gateway_id = gateway_id

    async def is_ours(self) -> bool:
        """Take or renew the lease; tell whether this gateway has it."""
        if await self._redis.set(keys.POOL_LEADER, self._gateway_id, nx=True, px=LEASE_MS):
            return True
        if await get_text(self._redis, keys.POOL_LEADER) == self._gateway_id:
            await self._redis.pexpire(keys.POOL_LEADER, LEASE_MS)
            return True
        return False
