"""Workers of one host hold their replicas to cores of their own. Real agents, real replica processes."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from shared.schemas.workers import LoadVariant
from tests.helpers.worker_client import VARIANT, StartWorker, WorkerClient, publish_sample_variant

pytestmark = [
    pytest.mark.connected,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out"),
]


async def load_everywhere(client: WorkerClient) -> list[tuple[int, ...]]:
    """Have every worker load the variant; return the cores that each tells its replica is held to."""
    for worker in await client.registry.workers():
        await client.registry.send(worker.info.worker_id, LoadVariant(variant=VARIANT))
    await client.until(lambda workers: all(VARIANT in worker.free_slots for worker in workers))
    await client.until(lambda workers: all(worker.info.replicas for worker in workers))
    return [worker.info.replicas[0].cores for worker in await client.registry.workers()]


def replica_cores(pid: int) -> tuple[int, ...]:
    """Return the cores that the kernel lets a worker's replica run on."""
    [replica] = [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if "inference_worker.replica" in process.cmdline()
    ]
    return tuple(sorted(os.sched_getaffinity(replica.pid)))


async def test_two_workers_hold_their_replicas_to_different_cores(
    start_worker: StartWorker, client: WorkerClient, store: Path
) -> None:
    publish_sample_variant(store)
    started = [start_worker(host_id="one-host") for _ in range(2)]
    await client.until(lambda workers: len(workers) == 2)
    told = await load_everywhere(client)
    assert sorted(core for cores in told for core in cores) == sorted(os.sched_getaffinity(0))
    held = [replica_cores(worker.pid) for worker in started]
    assert sorted(held) == sorted(tuple(sorted(cores)) for cores in told)
    # The agents themselves run anywhere.
    assert {len(os.sched_getaffinity(worker.pid)) for worker in started} == {len(os.sched_getaffinity(0))}


@pytest.mark.parametrize("settings", [{"cpu_pinning": "off"}, {"inference_threads": 500}])
async def test_replicas_run_anywhere_where_the_operator_says_so(
    start_worker: StartWorker, client: WorkerClient, store: Path, settings: dict[str, object]
) -> None:
    publish_sample_variant(store)
    started = [start_worker(host_id="one-host", **settings) for _ in range(2)]
    await client.until(lambda workers: len(workers) == 2)
    assert await load_everywhere(client) == [(), ()]
    assert {len(replica_cores(worker.pid)) for worker in started} == {len(os.sched_getaffinity(0))}
