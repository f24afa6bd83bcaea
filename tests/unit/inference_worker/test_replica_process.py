"""A real replica process with the sample engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from inference_worker.engine import EngineFigures, EngineInfo, EngineSpec, Finish, SamplingParams
from inference_worker.replica_process import ReplicaProcess
from shared.errors import LoadFailed

StartReplica = Callable[..., Awaitable[tuple[ReplicaProcess, EngineInfo]]]


def spec(**options: object) -> EngineSpec:
    defaults = {"context_length": 4096, "vocab_size": 20_000, "eos_token_id": 2}
    return EngineSpec("sample", Path("nowhere"), slots=8, options={**defaults, **options})


@pytest.fixture
async def start() -> AsyncIterator[StartReplica]:
    replicas: list[ReplicaProcess] = []

    async def start_replica(**options: object) -> tuple[ReplicaProcess, EngineInfo]:
        replica, info = await ReplicaProcess.start(spec(**options), name="demo:int8", timeout_seconds=20)
        replicas.append(replica)
        return replica, info

    yield start_replica
    for replica in replicas:
        await replica.kill()


async def collect(replica: ReplicaProcess, count: int) -> dict[str, tuple[list[int], Finish | None]]:
    """Take steps until that many sequences have ended."""
    heard: dict[str, tuple[list[int], Finish | None]] = {}
    async with asyncio.timeout(20):
        async for step in replica.steps():
            for event in step.events:
                ids, _ = heard.get(event.sequence_id, ([], None))
                heard[event.sequence_id] = ([*ids, *event.token_ids], event.finish)
            if sum(finish is not None for _, finish in heard.values()) == count:
                break
    return heard


async def test_many_sequences_come_back_whole(start: StartReplica) -> None:
    replica, info = await start()
    assert info.slots == 8
    for number in range(30):
        replica.add(f"s{number}", [5, 6, number + 7], SamplingParams(10 + number))
    heard = await collect(replica, 30)
    assert {key: len(ids) for key, (ids, _) in heard.items()} == {f"s{number}": 10 + number for number in range(30)}
    assert replica.resident_bytes() > 1 << 20
    await replica.stop()
    assert replica.returncode == 0


async def test_an_aborted_sequence_goes_silent_and_others_go_on(start: StartReplica) -> None:
    replica, _ = await start(tokens_per_second=200)
    replica.add("gone", [5], SamplingParams(4000))
    replica.add("here", [6], SamplingParams(20))
    replica.abort("gone")
    heard = await collect(replica, 1)
    assert len(heard["here"][0]) == 20
    assert heard.get("gone", ([], None))[1] is None


async def test_a_sequence_that_the_engine_refuses_ends_alone(start: StartReplica) -> None:
    replica, _ = await start()
    replica.add("empty", [], SamplingParams(5))
    replica.add("good", [6], SamplingParams(5))
    heard = await collect(replica, 2)
    assert heard["empty"] == ([], Finish.ENGINE_REJECTED)
    assert heard["good"][1] is Finish.LENGTH


@pytest.mark.parametrize("busy", [False, True])
async def test_a_killed_replica_is_noticed_at_once(start: StartReplica, busy: bool) -> None:
    """Accident: a crashed engine leaves its chats waiting for a time-out."""
    replica, _ = await start(tokens_per_second=50)
    steps = replica.steps()
    if busy:
        replica.add("one", [5], SamplingParams(4000))
        await anext(steps)
    os.kill(replica.pid, signal.SIGKILL)
    begin = time.monotonic()
    async with asyncio.timeout(5):
        async for _step in steps:
            pass
    assert time.monotonic() - begin < 0.3
    assert await replica.wait() == -signal.SIGKILL


async def test_an_engine_that_aborts_is_noticed(start: StartReplica) -> None:
    replica, _ = await start(crash_after_tokens=3)
    replica.add("one", [5], SamplingParams(100))
    async with asyncio.timeout(10):
        tokens = [step.events[0].token_ids async for step in replica.steps()]
    assert len(tokens) == 3
    assert await replica.wait() == -signal.SIGABRT


async def test_a_hung_engine_goes_silent_and_can_be_killed(start: StartReplica) -> None:
    replica, _ = await start(hang_after_tokens=3)
    replica.add("one", [5], SamplingParams(100))
    steps = replica.steps()
    for _ in range(3):
        await anext(steps)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(steps), 1.5)
    await replica.kill()
    assert replica.returncode == -signal.SIGKILL


async def test_a_long_prefill_gives_signs_of_life(start: StartReplica) -> None:
    """Accident: an engine that computes a long prompt is taken for hung and killed."""
    replica, _ = await start(prefill_tokens_per_second=100)
    replica.add("long", [5] * 250, SamplingParams(1))
    signs = 0
    async with asyncio.timeout(10):
        async for step in replica.steps():
            if step.events:
                break
            signs += 1
    assert signs >= 1


async def test_a_failed_start_says_why() -> None:
    with pytest.raises(LoadFailed, match="told to fail"):
        await ReplicaProcess.start(spec(fail_start=True), name="demo:int8", timeout_seconds=20)


async def test_a_start_that_takes_too_long_is_ended() -> None:
    with pytest.raises(LoadFailed, match="within"):
        await ReplicaProcess.start(spec(start_seconds=60), name="demo:int8", timeout_seconds=0.5)


async def test_progress_is_told_while_loading() -> None:
    told: list[float] = []
    replica, _ = await ReplicaProcess.start(spec(), name="demo:int8", timeout_seconds=20, report_progress=told.append)
    await replica.kill()
    assert told == [1.0]


async def test_adding_to_a_dead_replica_does_not_raise(start: StartReplica) -> None:
    replica, _ = await start()
    await replica.kill()
    await replica.kill()
    replica.add("one", [5], SamplingParams(5))
    replica.abort("one")
    assert replica.resident_bytes() == 0
    await replica.stop()


def test_a_replica_dies_with_its_agent() -> None:
    """Accident: a killed agent leaves a model in memory, and the next one finds no room for its own."""
    script = (
        "import asyncio, os, signal\n"
        "from pathlib import Path\n"
        "from inference_worker.engine import EngineSpec\n"
        "from inference_worker.replica_process import ReplicaProcess\n"
        "async def main():\n"
        "    spec = EngineSpec('sample', Path('nowhere'))\n"
        "    replica, _ = await ReplicaProcess.start(spec, name='x', timeout_seconds=20)\n"
        "    print(replica.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    agent = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=30)
    pid = int(agent.stdout)
    deadline = time.monotonic() + 5
    while _runs(pid):
        assert time.monotonic() < deadline


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_figures_come_while_it_works_and_when_it_rests(start: StartReplica) -> None:
    """The accident: a dashboard shows a full cache for hours, because the last figures came in the middle of work."""
    replica, _ = await start(tokens_per_second=100, preempt_after_tokens=3)
    replica.add("one", [1, 2, 3], SamplingParams(150, ignore_eos=True))
    figures: list[EngineFigures] = []
    async with asyncio.timeout(20):
        async for step in replica.steps():
            if step.figures is not None:
                figures.append(step.figures)
                if not step.events:
                    break
    assert 3 <= len(figures) <= 6
    assert all(one.kv_cache_usage for one in figures[:-1])
    assert figures[-1] == EngineFigures(waiting=0, kv_cache_usage=0.0, preemptions=1)
