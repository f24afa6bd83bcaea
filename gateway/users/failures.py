"""Failed sign-ins by address, counted on the transport Redis for all gateways."""

from __future__ import annotations

import time

from shared import keys
from shared.errors import RateLimited
from shared.redis_client import AsyncRedis

WINDOW_SECONDS = 60


class SignInFailures:
    """Counts by the minute; an address that has spent its failures waits for the next one."""

    def __init__(self, transport: AsyncRedis, most_per_minute: int) -> None:
        self._redis = transport
        self._most = most_per_minute

    async def is_spent(self, address: str) -> bool:
        """Whether an address may not try another key in this minute."""
        count = await self._redis.get(keys.sign_in_failures(address, _minute()))
        return count is not None and int(count) >= self._most

    async def count(self, address: str) -> None:
        """Count a failure."""
        name = keys.sign_in_failures(address, _minute())
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(name)
            pipeline.expire(name, 2 * WINDOW_SECONDS)
            await pipeline.execute()


def too_many() -> RateLimited:
    """Return the error of an address that has spent its failures."""
    wait_seconds = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    return RateLimited("Too many failed sign-ins from this address. Wait a minute.", retry_after_seconds=wait_seconds)


def _minute() -> int:
    return int(time.time()) // WINDOW_SECONDS
