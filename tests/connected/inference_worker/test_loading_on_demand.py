"""Places and memory: what is loaded when, and what has to go for it. Real agents, real replica processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shared import keys
from shared.registry import RegisteredWorker
from shared.schemas.workers import LoadVariant, UnloadVariant
from tests.helpers.worker_client import LONG, StartWorker, WorkerClient, publish_sample_variant

pytestmark = pytest.mark.connected

MIB = 1 << 20


def ready(workers: list[RegisteredWorker]) -> set[str]:
    return {replica.key for worker in workers for replica in worker.info.replicas if replica.state == "ready"}


def publish(store: Path, *names: str, mib: int = 400) -> None:
    for name in names:
        publish_sample_variant(store, f"{name}:int8", memory_bytes=mib * MIB)


async def ask_for(client: WorkerClient, name: str) -> None:
    workers = await client.registry.workers()
    await client.registry.send(workers[0].info.worker_id, LoadVariant(variant=f"{name}:int8"))


async def loaded(client: WorkerClient, name: str) -> None:
    await ask_for(client, name)
    await client.until(lambda workers: f"{name}:int8" in ready(workers))


async def test_the_least_valuable_idle_replica_makes_room(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    publish(store, "a", "b", "c")
    start_worker(memory_budget_bytes=1000 * MIB)
    await client.until(bool)
    await loaded(client, "a")
    await loaded(client, "b")
    [worker] = await client.registry.workers()
    assert worker.info.memory_budget_bytes == 1000 * MIB
    assert worker.info.memory_reserved_bytes == 800 * MIB
    await loaded(client, "c")
    await client.until(lambda workers: len(ready(workers)) == 2)
    assert await client.redis.hlen(keys.host_ledger(worker.info.host_id)) == 2


async def test_a_busy_replica_is_waited_for_and_a_pinned_one_stays(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    publish(store, "busy", "pinned", "wanted")
    await client.redis.sadd(keys.PINNED, "pinned:int8")
    start_worker(memory_budget_bytes=1000 * MIB, idle_unload_seconds=1)
    await client.until(bool)
    await loaded(client, "pinned")
    await loaded(client, "busy")
    long = await client.ask(variant="busy:int8", params=LONG)
    await ask_for(client, "wanted")
    await client.until(lambda workers: any(replica.running for worker in workers for replica in worker.info.replicas))
    assert ready(list(await client.registry.workers())) == {"busy:int8", "pinned:int8"}
    await client.queue.cancel(long, "ann")
    await client.until(lambda workers: ready(workers) == {"pinned:int8", "wanted:int8"})
    # Nobody uses it, and it is not pinned.
    await client.until(lambda workers: ready(workers) == {"pinned:int8"})


async def test_a_variant_that_can_never_fit_fails_with_both_figures(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    publish(store, "giant", mib=4096)
    start_worker(memory_budget_bytes=1024 * MIB)
    await client.until(bool)
    await ask_for(client, "giant")
    failure = await client.load_failure("giant:int8")
    assert failure.code == "load_failed"
    assert "4.3 GB" in failure.message
    assert "1.1 GB" in failure.message


async def test_workers_of_one_host_share_its_memory_and_give_up_what_is_idle(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    """Accident: two agents of a host load one variant each, and together they take more than the host has."""
    publish(store, "a", "b", mib=700)
    for _ in range(2):
        start_worker(memory_budget_bytes=1000 * MIB, host_id="one-host")
    await client.until(lambda workers: len(workers) == 2)
    first, second = [worker.info.worker_id for worker in await client.registry.workers()]
    await client.registry.send(first, LoadVariant(variant="a:int8"))
    await client.until(lambda workers: ready(workers) == {"a:int8"})
    await client.registry.send(second, LoadVariant(variant="b:int8"))
    await client.until(lambda workers: ready(workers) == {"b:int8"})
    assert await client.redis.hgetall(keys.host_ledger("one-host")) == {
        f"{second}|b:int8".encode(): str(700 * MIB).encode()
    }


async def test_a_replica_that_is_told_to_go_and_is_wanted_again_comes_back(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    """Accident: a wish that arrives while the replica is being ended is taken for granted, and nobody loads it."""
    publish(store, "a")
    start_worker()
    await client.until(bool)
    await loaded(client, "a")
    [worker] = await client.registry.workers()
    await client.registry.send(worker.info.worker_id, UnloadVariant(variant="a:int8"))
    await client.registry.send(worker.info.worker_id, LoadVariant(variant="a:int8"))
    await client.until(lambda workers: not ready(workers))
    await client.until(lambda workers: ready(workers) == {"a:int8"})


async def test_the_replica_of_a_deleted_variant_ends(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    """Accident: a model that was deleted by force holds its memory and its place until the worker is restarted."""
    publish(store, "gone", "kept")
    start_worker()
    await client.until(bool)
    await loaded(client, "gone")
    await loaded(client, "kept")
    shutil.rmtree(store / "gone")
    await client.until(lambda workers: ready(workers) == {"kept:int8"})
