"""Reading Redis streams, with the reply's shape narrowed to what these streams hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from redis.exceptions import ReadOnlyError, ResponseError

from shared.redis_client import AsyncRedis, is_demoted

#: A read that has no answer for so much longer than it blocks has a half-open connection. Nothing is under way on it
#: that would fail: it would wait for the kernel's keep-alive, two hours.
LATE_SECONDS = 5.0

#: One entry of a stream: its id and its fields.
StreamEntry = tuple[bytes, dict[bytes, bytes]]


@contextmanager
def _naming_demotion() -> Iterator[None]:
    """Have a read that Redis broke off raise what a Redis that is a replica raises otherwise."""
    try:
        yield
    except ResponseError as error:
        if is_demoted(error):
            raise ReadOnlyError(str(error)) from error
        raise


def _entries(answer: object) -> list[StreamEntry]:
    streams = cast(list[tuple[bytes, list[StreamEntry]]], answer)
    return streams[0][1] if streams else []


async def read_stream(client: AsyncRedis, stream: str, after: str, *, count: int, block_ms: int) -> list[StreamEntry]:
    """Return the next entries after an id; waits ``block_ms`` for one, which needs a client for blocking reads."""
    with _naming_demotion():
        async with asyncio.timeout(block_ms / 1000 + LATE_SECONDS):
            return _entries(await client.xread({stream: after}, count=count, block=block_ms))


async def read_group(
    client: AsyncRedis, stream: str, group: str, consumer: str, *, count: int, block_ms: int
) -> list[StreamEntry]:
    """Return entries that no consumer of the group has got before; waits ``block_ms`` for one."""
    with _naming_demotion():
        async with asyncio.timeout(block_ms / 1000 + LATE_SECONDS):
            return _entries(await client.xreadgroup(group, consumer, {stream: ">"}, count=count, block=block_ms))


async def claim_idle(
    client: AsyncRedis, stream: str, group: str, consumer: str, *, idle_ms: int, count: int
) -> list[StreamEntry]:
    """Return entries that another consumer took longer ago than ``idle_ms`` and did not acknowledge."""
    answer = cast(
        tuple[bytes, list[StreamEntry]],
        await client.xautoclaim(stream, group, consumer, min_idle_time=idle_ms, count=count),
    )
    return [entry for entry in answer[1] if entry[1]]
