"""The memory of a host, as its workers share it."""

import asyncio

import pytest

from shared import keys
from shared.host_ledger import HostLedger
from shared.redis_client import AsyncRedis, redis_now_ms

pytestmark = pytest.mark.connected

HOST = "h1"


@pytest.fixture
def ledger(transport: AsyncRedis) -> HostLedger:
    return HostLedger(transport)


async def alive(transport: AsyncRedis, *worker_ids: str) -> None:
    now = await redis_now_ms(transport)
    await transport.zadd(keys.WORKERS, dict.fromkeys(worker_ids, now))


async def test_two_workers_that_load_at_once_do_not_take_the_same_memory(
    ledger: HostLedger, transport: AsyncRedis
) -> None:
    """Accident: each sees 100 bytes free, both load, and the host runs out of memory."""
    await alive(transport, "w1", "w2")
    missing = await asyncio.gather(
        *(ledger.reserve(HOST, worker, "m:int4", 60, budget_bytes=100) for worker in ("w1", "w2") for _ in range(5))
    )
    granted = {worker for worker, lacks in zip(["w1"] * 5 + ["w2"] * 5, missing, strict=True) if lacks == 0}
    assert len(granted) == 1
    assert {lacks for lacks in missing if lacks} == {20}


async def test_a_replica_counts_itself_once(ledger: HostLedger, transport: AsyncRedis) -> None:
    await alive(transport, "w1")
    assert await ledger.reserve(HOST, "w1", "m:int4", 80, budget_bytes=100) == 0
    await ledger.write(HOST, "w1", "m:int4", 50)
    assert await ledger.reserve(HOST, "w1", "m:int8", 51, budget_bytes=100) == 1
    assert await ledger.reserve(HOST, "w1", "m:int4", 100, budget_bytes=100) == 0
    await ledger.write(HOST, "w1", "m:int4", 0)
    assert not await transport.exists(keys.host_ledger(HOST))


async def test_what_a_dead_worker_held_is_free(ledger: HostLedger, transport: AsyncRedis) -> None:
    """Accident: an agent that was killed keeps its host's memory for ever."""
    await alive(transport, "w1", "w2")
    assert await ledger.reserve(HOST, "w1", "m:int4", 90, budget_bytes=100) == 0
    assert await ledger.reserve(HOST, "w2", "m:int4", 90, budget_bytes=100) == 80
    await transport.zrem(keys.WORKERS, "w1")
    assert await ledger.reserve(HOST, "w2", "m:int4", 90, budget_bytes=100) == 0
    assert await transport.hvals(keys.host_ledger(HOST)) == [b"90"]


async def test_hosts_do_not_share(ledger: HostLedger, transport: AsyncRedis) -> None:
    await alive(transport, "w1", "w2")
    assert await ledger.reserve("h1", "w1", "m:int4", 100, budget_bytes=100) == 0
    assert await ledger.reserve("h2", "w2", "m:int4", 100, budget_bytes=100) == 0
