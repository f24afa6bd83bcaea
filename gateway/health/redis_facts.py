"""What Redis tells of itself: its memory, and whether what it is told gets to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import redis.exceptions

from shared.redis_client import AsyncRedis

#: Seconds within which Redis must answer for the gateway to count as ready, and to be seen in the metrics.
PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """One database server; a limit of 0 is none."""

    memory_bytes: int
    limit_bytes: int
    clients: int
    is_disk_failing: bool
    """Whether the last write or rewriting of its append-only file failed."""


async def look_at_redis(databases: Mapping[str, AsyncRedis]) -> dict[str, RedisFacts | None]:
    """Return the facts of each database server by its name, None of one that does not answer in time."""
    found = await asyncio.gather(*map(_facts, databases.values()))
    return dict(zip(databases, found, strict=True))


async def _facts(client: AsyncRedis) -> RedisFacts | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            told = cast(dict[str, object], await client.info())
    except (redis.exceptions.RedisError, OSError):
        return None
    return RedisFacts(
        memory_bytes=int(str(told["used_memory"])),
        limit_bytes=int(str(told["maxmemory"])),
        clients=int(str(told["connected_clients"])),
        is_disk_failing=not {told["aof_last_write_status"], told["aof_last_bgrewrite_status"]} <= {"ok"},
    )
