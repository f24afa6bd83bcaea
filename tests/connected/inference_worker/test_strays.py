"""What a worker does about generations that are its own by the registry only."""

from __future__ import annotations

import asyncio

import pytest

from inference_worker.slot_keeper import SlotKeeper
from inference_worker.strays import give_strays_back, tell_idle_slots
from shared.redis_client import AsyncRedis
from shared.registry import Registry
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request, worker_info

pytestmark = pytest.mark.connected
VARIANT = "m:int4"


async def test_what_redis_takes_for_running_here_waits_again(transport: AsyncRedis) -> None:
    """Accident: Redis loses its last second, and with it the end of an answer. Its worker has forgotten the answer and
    lives, so that nobody ends it: its chat is busy for two days."""
    registry, queue = Registry(transport), WaitingQueue(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    for name in ("ended-here", "runs"):
        await queue.enqueue(generation_request(name, variant=VARIANT), "gw", 10)
    await registry.set_slots("w1", VARIANT, 2)
    assert await queue.take("w1", VARIANT) == 2
    task = asyncio.create_task(
        give_strays_back(registry, queue, worker_id=lambda: "w1", owned=lambda: {"runs"}, look_seconds=0.05)
    )
    try:
        async with asyncio.timeout(5):
            while await queue.position("ended-here", VARIANT) is None:  # noqa: ASYNC110 - it tells nobody.
                await asyncio.sleep(0.01)
        # It looks some times more.
        await asyncio.sleep(0.2)
    finally:
        task.cancel()
    assert {attempt.generation_id for attempt in await registry.assigned("w1")} == {"runs"}
    await registry.set_slots("w1", VARIANT, 1)
    assert await queue.take("w1", VARIANT) == 1
    assert ("ended-here", 2) in await registry.assigned("w1")


async def test_a_slot_whose_return_redis_lost_is_told_again(transport: AsyncRedis) -> None:
    """Accident: Redis loses its last second, and with it that the one slot of a replica is free again. The worker has
    nothing that could end, so it gives nothing back any more, and gets nothing for as long as it lives."""
    registry, queue = Registry(transport), WaitingQueue(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    await registry.set_slots("w1", VARIANT, 0)
    await queue.enqueue(generation_request("g", variant=VARIANT), "gw", 10)
    slots = SlotKeeper(queue, registry, worker_id=lambda: "w1", free_slots=lambda _variant: 1)
    tasks = [
        asyncio.create_task(slots.run()),
        asyncio.create_task(
            tell_idle_slots(lambda: {VARIANT: 1}, registry, slots, worker_id=lambda: "w1", look_seconds=0.05)
        ),
    ]
    try:
        async with asyncio.timeout(5):
            while ("g", 1) not in await registry.assigned("w1"):  # noqa: ASYNC110 - it tells nobody.
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
    assert await queue.position("g", VARIANT) is None
