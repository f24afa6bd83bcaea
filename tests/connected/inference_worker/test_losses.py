"""What a worker does when something is lost: its replica, its Redis, its time, its files."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import orjson
import psutil
import pytest

from shared import keys
from shared.journal import NewEntry
from shared.redis_client import create_redis
from shared.schemas.generation import GenerationParams
from shared.schemas.workers import LoadVariant
from tests.helpers.redis_relay import RedisRelay
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import Service, wait_until
from tests.helpers.worker_client import (
    LONG,
    VARIANT,
    StartWorker,
    WorkerClient,
    assert_well_formed,
    publish_sample_variant,
    text_of,
    tokens_of,
)

pytestmark = pytest.mark.connected


def replica_pid(worker: Service) -> int:
    """The one replica process of a worker."""
    (pid,) = [
        child.pid for child in psutil.Process(worker.pid).children() if "inference_worker.replica" in child.cmdline()
    ]
    return int(pid)


async def test_a_late_writer_with_an_older_attempt_is_refused(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    """Accident: a worker that was declared lost and comes back writes into an answer that another one continues."""
    publish_sample_variant(store)
    worker = start_worker()
    worker_id = await client.ready_worker()
    generation_id = await client.ask(params=LONG)
    await client.entries_until(generation_id, lambda entries: len(entries) > 5)
    worker.signal(signal.SIGSTOP)
    reaped = await client.registry.reap(worker_id, silent_ms=0)
    assert reaped is not None
    assert reaped.requeued == (generation_id,)
    before = await client.journal.read(generation_id)
    worker.signal(signal.SIGCONT)
    # It comes back under a new id, with its replica still loaded, and takes what waits: as another attempt.
    await client.until(lambda workers: any(w.info.worker_id != worker_id and w.free_slots for w in workers))
    await client.place()
    entries = await client.entries_until(generation_id, lambda entries: len(entries) > len(before) + 5)
    assert {entry.attempt for entry in entries[: len(before)]} == {1}
    assert {entry.attempt for entry in entries[len(before) :]} == {2}
    assert entries[len(before)].kind == "resumed"


async def test_a_worker_that_gets_its_own_answer_back_goes_on_with_it(
    client: WorkerClient, start_worker: StartWorker, store: Path, session_redis: RedisServer
) -> None:
    """Accident: a worker is declared lost, takes its own answer again, and is refused only now what it wrote before.

    It takes that for a refusal of the new attempt, stops it without a word, and the answer stands still for ever.
    """
    publish_sample_variant(store)
    params = GenerationParams(temperature=0, max_new_tokens=300)
    async with RedisRelay(session_redis).running() as relay:
        worker = start_worker(url=relay.url)
        worker_id = await client.ready_worker()
        generation_id = await client.ask(params=params)
        await client.entries_until(generation_id, lambda entries: len(entries) > 20)
        relay.hold(client.redis, "append")
        await relay.caught()
        assert await client.registry.reap(worker_id, silent_ms=0)
        await asyncio.to_thread(wait_until, lambda: '"attempt": 2' in worker.output, what="its second attempt")
        relay.release()
        entries = await client.ended(generation_id)
    assert_well_formed(entries)
    assert {entry.attempt for entry in entries} == {1, 2}
    assert len(tokens_of(entries)) == 300


async def test_a_killed_replica_is_replaced_and_the_answer_goes_on(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    """Accident: the engine crashes and the answers of everybody who was talking to it are lost."""
    publish_sample_variant(store)
    worker = start_worker()
    await client.ready_worker()
    params = GenerationParams(temperature=0, max_new_tokens=200)
    whole = await client.ended(await client.ask("same", params=params))
    generation_id = await client.ask("same", params=params)
    await client.entries_until(generation_id, lambda entries: len(entries) > 20)
    os.kill(replica_pid(worker), signal.SIGKILL)
    await client.until(lambda workers: workers[0].free_slots == {})
    await client.until(lambda workers: VARIANT in workers[0].free_slots)
    await client.place()
    entries = await client.ended(generation_id)
    assert_well_formed(entries)
    assert [entry.kind for entry in entries].count("resumed") == 1
    assert text_of(entries) == text_of(whole)
    assert tokens_of(entries) == tokens_of(whole)
    assert orjson.loads(entries[-1].frame)["usage"]["completion_tokens"] == 200


async def test_a_generation_that_kills_every_engine_fails_and_the_worker_lives(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    """Accident: one poisonous prompt restarts the engine for ever."""
    publish_sample_variant(store, crash_after_tokens=3)
    publish_sample_variant(store, "good:int8")
    worker = start_worker()
    await client.ready_worker()
    await client.ask()
    for _ in range(2):
        await client.until(lambda workers: VARIANT in workers[0].free_slots)
        await client.place()
        await client.until(lambda workers: VARIANT not in workers[0].free_slots)
    assert (await client.load_failure()).code == "load_failed"
    await client.ready_worker("good:int8")
    assert_well_formed(await client.ended(await client.ask(variant="good:int8")))
    assert worker.process is not None
    assert worker.process.poll() is None


async def test_a_corrupt_variant_is_refused_and_the_worker_lives(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    folder = publish_sample_variant(store)
    publish_sample_variant(store, "good:int8")
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(100)
    start_worker()
    await client.until(bool)
    worker_id = (await client.registry.workers())[0].info.worker_id
    await client.registry.send(worker_id, LoadVariant(variant=VARIANT))
    failure = await client.load_failure()
    assert failure.code == "variant_corrupt"
    assert "tokenizer.json" in failure.message
    await client.ready_worker("good:int8")
    assert_well_formed(await client.ended(await client.ask(variant="good:int8")))


async def test_a_draining_worker_finishes_what_runs_and_leaves(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store)
    worker = start_worker()
    await client.ready_worker()
    first = await client.ask(params=GenerationParams(temperature=0, max_new_tokens=150))
    await client.entries_until(first, lambda entries: len(entries) > 3)
    worker.signal(signal.SIGTERM)
    await client.until(lambda workers: workers[0].info.state == "draining" and workers[0].free_slots == {})
    waiting = await client.ask()
    assert len(tokens_of(await client.ended(first))) == 150
    await client.until(lambda workers: workers == [])
    assert worker.stop(seconds=10) == 0
    assert await client.queue.position(waiting, VARIANT) == 0


async def test_what_does_not_end_within_the_grace_time_waits_again(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store)
    worker = start_worker(drain_grace_seconds=0.3)
    await client.ready_worker()
    first = await client.ask(params=LONG)
    await client.entries_until(first, lambda entries: len(entries) > 3)
    assert worker.stop(seconds=10) == 0
    assert await client.queue.position(first, VARIANT) == 0
    before = await client.journal.read(first)
    start_worker()
    await client.ready_worker()
    await client.place()
    entries = await client.entries_until(first, lambda entries: len(entries) > len(before) + 3)
    assert entries[len(before)].kind == "resumed"


async def test_a_redis_that_restarts_loses_and_repeats_nothing(
    own_redis: RedisServer, start_worker: StartWorker, store: Path
) -> None:
    """Accident: entries of the seconds without Redis are lost, or those without an answer are written twice."""
    publish_sample_variant(store)
    redis = create_redis("test", own_redis.url)
    try:
        client = WorkerClient(redis)
        start_worker(url=own_redis.url)
        await client.ready_worker()
        params = GenerationParams(temperature=0, max_new_tokens=600)
        asked = [await client.ask(f"number {number}", params=params) for number in range(4)]
        for generation_id in asked:
            await client.entries_until(generation_id, lambda entries: len(entries) > 20)
        own_redis.kill()
        await asyncio.sleep(0.5)
        own_redis.start()
        for generation_id in asked:
            entries = await client.ended(generation_id)
            assert_well_formed(entries)
            assert len(tokens_of(entries)) == 600
            assert {entry.attempt for entry in entries} == {1}
        assert_well_formed(await client.ended(await client.ask()))
        await client.until(lambda workers: workers[0].free_slots[VARIANT] == 8)
    finally:
        await redis.aclose()


async def test_a_redis_that_is_demoted_for_a_moment_ends_no_worker(
    own_redis: RedisServer, start_worker: StartWorker, store: Path
) -> None:
    """Accident: a failover makes Redis a replica, and what that answers to scripts and to reads that it breaks off.

    Every worker took it for a fault of its own and ended with all that it had loaded.
    """
    publish_sample_variant(store)
    redis = create_redis("test", own_redis.url)
    try:
        client = WorkerClient(redis)
        worker = start_worker(url=own_redis.url)
        await client.ready_worker()
        params = GenerationParams(temperature=0, max_new_tokens=300)
        generation_id = await client.ask(params=params)
        await client.entries_until(generation_id, lambda entries: len(entries) > 20)
        await redis.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))  # type: ignore[no-untyped-call]
        await asyncio.sleep(1.5)
        await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
        entries = await client.ended(generation_id)
    finally:
        await redis.aclose()
    assert_well_formed(entries)
    assert len(tokens_of(entries)) == 300
    assert {entry.attempt for entry in entries} == {1}
    assert worker.process is not None
    assert worker.process.poll() is None


async def test_a_worker_waits_for_a_redis_that_is_away_at_start(
    tmp_path: Path, start_worker: StartWorker, own_redis: RedisServer
) -> None:
    own_redis.stop()
    worker = start_worker(url=own_redis.url)
    await asyncio.sleep(0.5)
    own_redis.start()
    redis = create_redis("test", own_redis.url)
    try:
        await WorkerClient(redis).until(lambda workers: len(workers) == 1)
    finally:
        await redis.aclose()
    assert worker.stop(seconds=10) == 0


def test_a_worker_that_waits_for_redis_ends_when_it_is_told_to(start_worker: StartWorker) -> None:
    """The accident: the engine of containers waits its whole grace time and kills it."""
    worker = start_worker(url=f"redis://127.0.0.1:{free_port()}/0")
    wait_until(lambda: "redis_away" in worker.output)
    assert worker.stop(seconds=10) == 0


async def test_a_generation_that_was_failed_from_outside_is_stopped(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store)
    start_worker()
    worker_id = await client.ready_worker()
    generation_id = await client.ask(params=LONG)
    await client.entries_until(generation_id, lambda entries: len(entries) > 3)
    state = await client.redis.hgetall(keys.generation_state(generation_id))
    entry = NewEntry(generation_id, int(state[b"attempt"]), "finished", int(state[b"seq"]), (), b"{}")
    assert (await client.registry.workers())[0].free_slots[VARIANT] == 7, "it is at work"
    await client.journal.append(worker_id, [entry])
    await client.until(lambda workers: workers[0].free_slots[VARIANT] == 8)
