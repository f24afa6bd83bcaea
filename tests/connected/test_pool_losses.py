"""What a loss must not do to others: accidents that the chaos run has found, each once more by itself."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared import keys
from shared.errors import LoadFailed
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Service, wait_until
from tests.helpers.sockets import Frame, Socket, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
VARIANT = "sample:int4"
PRELOADED = {
    "OVCHAT_PRELOAD_MODELS": VARIANT,
    "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "40",
    "OVCHAT_MAX_SEQUENCES": "4",
}


@pytest.fixture
def pool(own_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    pool.gateway()
    yield pool
    for worker in pool.workers:
        # One that a failed test left stopped could not end.
        worker.signal(signal.SIGCONT)
    pool.stop()


def ready_worker(pool: Pool) -> Service:
    worker = pool.worker(PRELOADED)
    wait_until(lambda: "replica_ready" in worker.output, what="the worker has the variant")
    return worker


async def test_one_workers_failure_fails_nobody_whom_another_serves(pool: Pool) -> None:
    """The accident: an engine dies again and again on one host, and everybody's waiting answers fail on all of them."""
    ready_worker(pool)
    error = LoadFailed("The engine died 3 times within a minute.")
    with redis.Redis.from_url(pool.redis_url) as client:
        client.set(keys.load_failure(VARIANT), error.body().model_dump_json(), ex=30)
    async with Socket(pool.gateways[0].socket_url) as socket:
        # More than have a slot at once, so that some wait through a look at what waits.
        for number in range(10):
            await socket.chat("sample", f"question {number}", params={"max_new_tokens": 40})
        ends: list[Frame] = []
        while len(ends) < 10:
            frame = await socket.receive()
            ends += [frame] if frame["type"] in ENDS else []
    assert {end["type"] for end in ends} == {"generation.finished"}


async def test_a_cancel_that_a_lost_worker_took_along_still_counts(pool: Pool) -> None:
    """The accident: a worker stops with the cancel unread, and another one goes on with what nobody wants."""
    workers = [ready_worker(pool), ready_worker(pool)]
    async with Socket(pool.gateways[0].socket_url) as socket:
        await socket.chat("sample", "never mind", params={"max_new_tokens": 400})
        seen = await socket.receive_until("generation.delta")
        (lost,) = (worker for worker in workers if seen[-2]["worker_id"] in worker.output)
        seen += [await socket.receive() for _ in range(5)]
        lost.signal(signal.SIGSTOP)
        await socket.send({"type": "generation.cancel", "generation_id": seen[0]["generation_id"]})
        seen += await socket.receive_until(*ENDS)
        lost.signal(signal.SIGCONT)
    assert_whole(seen)
    assert seen[-1]["finish_reason"] == "cancelled"
    deltas = [frame for frame in seen if frame["type"] == "generation.delta"]
    assert len(deltas) <= seen[-1]["usage"]["completion_tokens"] < 200


async def test_workers_are_not_lost_because_redis_was_away(pool: Pool, own_redis: RedisServer) -> None:
    """The accident: Redis comes back after some seconds, and every worker counts as silent for as long."""
    worker = ready_worker(pool)
    async with Socket(pool.gateways[0].socket_url) as socket:
        await socket.chat("sample", "wait for it", params={"max_new_tokens": 400})
        seen = await socket.receive_until("generation.delta")
        own_redis.kill()
        await asyncio.sleep(5)
        own_redis.start()
        seen += await socket.receive_until(*ENDS)
    assert_whole(seen)
    assert "generation.resumed" not in [frame["type"] for frame in seen]
    assert "worker_was_declared_lost" not in worker.output
    assert "worker_lost" not in pool.gateways[0].output


async def test_a_preloaded_variant_is_loaded_again_after_its_engine_was_killed_often(pool: Pool) -> None:
    """The accident: whatever killed the engines is over, and the worker stays without its variant for ever."""
    worker = ready_worker(pool)
    for deaths in range(1, 4):
        *_, ready = (line for line in worker.output.splitlines() if "replica_ready" in line)
        os.kill(json.loads(ready)["pid"], signal.SIGKILL)
        wait_until(
            lambda deaths=deaths: worker.output.count("replica_ready") > deaths,  # type: ignore[misc]
            what=f"the engine is there again after its death number {deaths}",
        )
