"""The worker's place in the registry, and what it does once it was declared lost."""

from __future__ import annotations

import pytest
import redis

from inference_worker.registration import Registration
from shared import keys
from shared.redis_client import AsyncRedis
from shared.registry import Registry
from shared.schemas.workers import WorkerInfo
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request, worker_info

pytestmark = pytest.mark.connected
VARIANT = "m:int4"


async def test_a_new_id_whose_answer_was_lost_is_told_all_the_same(redis_url: str, transport: AsyncRedis) -> None:
    """Accident: Redis goes away in the moment in which it gives the new id a place.

    The next heartbeat finds that place, and the worker goes on reading the commands of its old one.
    """
    registry = Registry(transport)
    told: list[str] = []
    answers_are_lost = False

    def describe(worker_id: str) -> WorkerInfo:
        if answers_are_lost and worker_id != first:
            # What the heartbeat does, and then its answer does not come.
            with redis.Redis.from_url(redis_url) as client:
                client.zadd(keys.WORKERS, {worker_id: int(client.time()[0]) * 1000})
            raise ConnectionError
        return worker_info(worker_id)

    async def on_lost() -> None:
        told.append(registration.worker_id)

    registration = Registration(registry, describe=describe, on_lost=on_lost)
    first = registration.worker_id
    await registration.beat()
    assert told == []
    await registry.reap(first, silent_ms=0)
    answers_are_lost = True
    with pytest.raises(ConnectionError):
        await registration.beat()
    answers_are_lost = False
    await registration.beat()
    await registration.beat()
    assert told == [registration.worker_id]
    assert [worker.info.worker_id for worker in await registry.workers()] == [registration.worker_id]


async def test_nothing_is_assigned_to_a_worker_that_was_declared_lost(transport: AsyncRedis) -> None:
    """Accident: a worker does not know yet that it was, opens its slots, and takes what nobody will look after then."""
    registry, queue = Registry(transport), WaitingQueue(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    await registry.reap("w1", silent_ms=0)
    await queue.enqueue(generation_request("g", variant=VARIANT), "gw", 10)
    await registry.set_slots("w1", VARIANT, 8)
    assert await queue.take("w1", VARIANT) == -1
    assert await queue.position("g", VARIANT) == 0
