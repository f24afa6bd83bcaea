"""The registry's number of free slots, kept by the worker."""

from __future__ import annotations

import asyncio

import pytest

from inference_worker.slot_keeper import SlotKeeper
from shared import redis_client
from shared.redis_client import create_redis
from shared.registry import Registry
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import worker_info
from tests.helpers.redis_relay import RedisRelay
from tests.helpers.redis_server import RedisServer
from tests.helpers.worker_client import VARIANT, WorkerClient

pytestmark = pytest.mark.connected

SLOTS = 8


async def free_in_registry(client: WorkerClient) -> int:
    return int(await client.redis.hget("ovchat:{pool}:slots", f"w1|{VARIANT}") or -1)


async def settled(client: WorkerClient, keeper: SlotKeeper, expected: int) -> None:
    task = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(10):
            while await free_in_registry(client) != expected:  # noqa: ASYNC110 - the keeper tells nobody.
                await asyncio.sleep(0.005)
    finally:
        task.cancel()


@pytest.mark.parametrize(("assigned", "registered"), [(0, SLOTS + 3), (5, SLOTS - 5 + 3), (SLOTS + 2, 2)])
async def test_slots_that_are_too_many_are_gone_with_the_next_release(
    client: WorkerClient, assigned: int, registered: int
) -> None:
    """Accident: after a call without an answer the worker is given more than it has slots, for as long as it lives."""
    free = max(0, SLOTS - assigned)
    keeper = SlotKeeper(client.queue, client.registry, worker_id=lambda: "w1", free_slots=lambda _variant: free)
    await client.registry.heartbeat(worker_info("w1"), register=True)
    await client.registry.set_slots("w1", VARIANT, registered)
    keeper.release(VARIANT)
    await settled(client, keeper, free)


async def test_a_release_never_takes_away_what_is_assigned_and_not_read(client: WorkerClient) -> None:
    """Accident: the number is set to the worker's own count, which does not know what is under way to it."""
    keeper = SlotKeeper(client.queue, client.registry, worker_id=lambda: "w1", free_slots=lambda _variant: SLOTS)
    await client.registry.heartbeat(worker_info("w1"), register=True)
    await client.registry.set_slots("w1", VARIANT, SLOTS - 3)
    keeper.release(VARIANT)
    await settled(client, keeper, SLOTS - 2)


async def test_a_call_that_is_never_answered_is_given_up(
    client: WorkerClient, session_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accident: the host of Redis loses its power, which ends no connection, while slots are given back.

    The worker waits for that answer, registers with the Redis that came back, and opens no slots there for a quarter of
    an hour.
    """
    monkeypatch.setattr(redis_client, "ANSWER_TIMEOUT_SECONDS", 0.2)
    await client.registry.heartbeat(worker_info("w1"), register=True)
    await client.registry.set_slots("w1", VARIANT, SLOTS - 1)
    async with RedisRelay(session_redis).running() as relay:
        once_redis = create_redis("once", relay.url, once=True)
        keeper = SlotKeeper(
            WaitingQueue(once_redis), client.registry, worker_id=lambda: "w1", free_slots=lambda _variant: SLOTS
        )
        relay.hold(client.redis, "take", only_one=True)
        keeper.release(VARIANT)
        await settled(client, keeper, SLOTS)
        await once_redis.aclose()


async def test_a_number_that_arrives_behind_the_close_does_not_stay(
    client: WorkerClient, session_redis: RedisServer
) -> None:
    """Accident: a replica dies while its slots are told, and the telling is held up until they have been closed.

    What waits is assigned to a replica that is gone, and the variant is loaded nowhere, because it seems to be here.
    """
    await client.registry.heartbeat(worker_info("w1"), register=True)
    free: list[int | None] = [SLOTS]
    async with RedisRelay(session_redis).running() as relay:
        redis = create_redis("worker", relay.url)
        keeper = SlotKeeper(client.queue, Registry(redis), worker_id=lambda: "w1", free_slots=lambda _variant: free[-1])
        task = asyncio.create_task(keeper.run())
        try:
            relay.hold(client.redis, "set_slots", only_one=True)
            keeper.publish(VARIANT)
            await relay.caught()
            free.append(None)
            keeper.publish(VARIANT)
            await keeper.close(VARIANT)
            relay.release()
            await asyncio.sleep(0.3)
            assert await free_in_registry(client) == -1
        finally:
            task.cancel()
            await redis.aclose()
