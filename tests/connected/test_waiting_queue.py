"""The life of a generation in Redis: queued, taken, journaled, cancelled, requeued, reaped."""

import asyncio

import orjson
import pytest

from gateway.generations.dispatcher import Dispatcher
from shared import keys
from shared.errors import Overloaded, WorkerLost
from shared.journal import Journal, NewEntry, encode_frame
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.registry import Registry
from shared.schemas.generation import GenerationDelta
from shared.schemas.workers import WORKER_COMMAND, CancelGeneration, Generate, WorkerCommand
from shared.streams import read_stream
from shared.waiting_queue import MAX_ATTEMPTS, Move, WaitingQueue
from tests.helpers.messages import generation_request, worker_info

pytestmark = pytest.mark.connected
VARIANT = "demo:int4"


async def commands(transport: AsyncRedis, worker_id: str) -> list[WorkerCommand]:
    entries = await read_stream(transport, keys.worker_stream(worker_id), "0", count=1000, block_ms=1)
    return [WORKER_COMMAND.validate_json(fields[b"c"]) for _, fields in entries]


def delta(generation_id: str, attempt: int, seq: int) -> NewEntry:
    frame = encode_frame(GenerationDelta(generation_id=generation_id, seq=seq, text=f"t{seq}"))
    return NewEntry(generation_id, attempt, "delta", seq, [seq], frame)


@pytest.fixture
def queue(transport: AsyncRedis) -> WaitingQueue:
    return WaitingQueue(transport)


@pytest.fixture
def journal(transport: AsyncRedis) -> Journal:
    return Journal(transport)


@pytest.fixture
async def registry(transport: AsyncRedis) -> Registry:
    registry = Registry(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    await registry.set_slots("w1", VARIANT, 2)
    return registry


async def test_heads_go_to_free_slots_in_order(transport: AsyncRedis, queue: WaitingQueue, registry: Registry) -> None:
    positions = [(await queue.enqueue(generation_request(f"g{i}"), "gw", 10)).position for i in range(3)]
    assert positions == [0, 1, 2]
    assert await queue.take("w1", VARIANT) == 2
    taken = await commands(transport, "w1")
    assert [command.generation_id for command in taken if isinstance(command, Generate)] == ["g0", "g1"]
    assert await queue.position("g2", VARIANT) == 0
    assert (await registry.workers())[0].free_slots == {VARIANT: 0}
    assert await queue.take("w1", VARIANT, released_slots=1) == 1
    assert await queue.waiting_variants() == frozenset()
    assert await queue.request("g2") == generation_request("g2")


async def test_a_burst_is_spread_over_the_workers(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry
) -> None:
    """The accident: the first worker takes everything that came in one moment, and the other one stands idle."""
    await registry.heartbeat(worker_info("w2"), register=True)
    for worker in ("w1", "w2"):
        await registry.set_slots(worker, VARIANT, 8)
    for number in range(6):
        await queue.enqueue(generation_request(f"g{number}"), "gw", 10)
    dispatcher = Dispatcher(transport, queue, registry, max_wait_seconds=60)
    assert (await dispatcher.place(VARIANT)).action == "assign"
    assert await queue.position("g1", VARIANT) == 0, "one place, one generation"
    await dispatcher.sweep()
    assert [len(await commands(transport, worker)) for worker in ("w1", "w2")] == [3, 3]


async def test_nothing_is_taken_by_a_replica_that_is_not_ready(queue: WaitingQueue, registry: Registry) -> None:
    await queue.enqueue(generation_request("g"), "gw", 10)
    await registry.set_slots("w1", VARIANT, None)
    assert await queue.take("w1", VARIANT) == -1
    assert await queue.position("g", VARIANT) == 0


async def test_two_takers_never_get_one_generation(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry
) -> None:
    """The accident: a gateway and a worker take the head at the same moment, and it is answered twice."""
    await registry.heartbeat(worker_info("w2"), register=True)
    await registry.set_slots("w1", VARIANT, 30)
    await registry.set_slots("w2", VARIANT, 30)
    for number in range(40):
        await queue.enqueue(generation_request(f"g{number}"), "gw", 100)
    await asyncio.gather(*(queue.take(worker, VARIANT) for worker in ("w1", "w2") for _ in range(10)))
    taken = [
        command.generation_id
        for worker in ("w1", "w2")
        for command in await commands(transport, worker)
        if isinstance(command, Generate)
    ]
    assert sorted(taken) == sorted(f"g{number}" for number in range(40))


async def test_a_full_queue_refuses(queue: WaitingQueue) -> None:
    assert (await queue.enqueue(generation_request("g0"), "gw", 1)).outcome == "queued"
    assert (await queue.enqueue(generation_request("g1"), "gw", 1)).outcome == "overloaded"
    assert (await queue.enqueue(generation_request("g0"), "gw", 1)).outcome == "exists"


async def test_a_late_writer_is_refused(queue: WaitingQueue, journal: Journal, registry: Registry) -> None:
    """The accident: a worker that was declared lost comes back and writes into a journal that moved on."""
    await queue.enqueue(generation_request("g"), "gw", 10)
    await queue.take("w1", VARIANT)
    assert await journal.append("w1", [delta("g", 1, 1)]) == frozenset()
    assert await queue.requeue("w1", "g", 1) == 2
    assert await journal.append("w1", [delta("g", 1, 2)]) == {("g", 1)}
    await queue.take("w1", VARIANT, released_slots=1)
    assert await journal.append("w1", [delta("g", 1, 3), delta("g", 2, 2)]) == {("g", 1)}
    assert [(entry.attempt, entry.seq, entry.token_ids) for entry in await journal.read("g")] == [
        (1, 1, (1,)),
        (2, 2, (2,)),
    ]


async def test_a_generation_ends_once(
    transport: AsyncRedis, queue: WaitingQueue, journal: Journal, registry: Registry
) -> None:
    await queue.enqueue(generation_request("g"), "gw", 10)
    await queue.take("w1", VARIANT)
    end = NewEntry("g", 1, "finished", 0, [], b'{"type":"generation.finished"}')
    assert await journal.append("w1", [end]) == frozenset()
    assert await journal.append("w1", [end]) == {("g", 1)}
    assert await queue.fail("g", WorkerLost("late"), only_waiting=False) is False
    assert await queue.cancel("g", "ann") == "ended"
    assert await transport.xlen(keys.FINISHED) == 1
    assert [entry.kind for entry in await journal.read("g")] == ["finished"]


async def test_watching_misses_nothing(transport: AsyncRedis, queue: WaitingQueue, journal: Journal) -> None:
    """The accident: a frame is journaled between reading the journal and subscribing, and is never seen."""
    await transport.zadd(keys.GATEWAYS, {"gw1": await redis_now_ms(transport)})
    registry = Registry(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    await registry.set_slots("w1", VARIANT, 1)
    await queue.enqueue(generation_request("g"), "other", 10)
    await queue.take("w1", VARIANT)

    async def write() -> None:
        for seq in range(1, 101):
            await journal.append("w1", [delta("g", 1, seq)])

    async def watch() -> list[int]:
        entries = await journal.watch("g", "gw1")
        assert entries is not None
        return [entry.seq for entry in entries]

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.005)
    seen = await watch()
    await writing
    live = [
        orjson.loads(frame)["seq"]
        for _, fields in await read_stream(transport, keys.inbox("gw1"), "0", count=1000, block_ms=1)
        for frame in fields.values()
    ]
    assert seen + live == list(range(1, 101))


async def test_cancel_in_every_state(
    transport: AsyncRedis, queue: WaitingQueue, journal: Journal, registry: Registry
) -> None:
    await queue.enqueue(generation_request("waits"), "gw", 10)
    assert await queue.cancel("waits", "bob") == "not_found"
    assert await queue.cancel("unknown", "ann") == "not_found"
    assert await queue.cancel("waits", "ann") == "cancelled"
    assert await queue.cancel("waits", "ann") == "ended"
    (entry,) = await journal.read("waits")
    frame = orjson.loads(entry.frame)
    assert (frame["type"], frame["finish_reason"], frame["seq"]) == ("generation.finished", "cancelled", 0)
    assert frame["timings"]["first_token_ms"] is None
    await queue.enqueue(generation_request("runs"), "gw", 10)
    await queue.take("w1", VARIANT)
    assert await queue.cancel("runs", "ann") == "sent"
    assert (await commands(transport, "w1"))[-1] == CancelGeneration(generation_id="runs")


async def test_failing_what_waits_too_long(queue: WaitingQueue, journal: Journal) -> None:
    await queue.enqueue(generation_request("g"), "gw", 10)
    assert await queue.fail("g", Overloaded("too long")) is True
    (entry,) = await journal.read("g")
    assert orjson.loads(entry.frame)["error"]["code"] == "overloaded"
    assert await queue.position("g", VARIANT) is None


async def test_a_lost_worker_gives_its_generations_back_in_front(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry
) -> None:
    for name in ("old", "newer"):
        await queue.enqueue(generation_request(name), "gw", 10)
    await registry.set_slots("w1", VARIANT, 1)
    await queue.take("w1", VARIANT)
    assert await registry.reap("w1") is None, "its heartbeat is fresh"
    assert await registry.lost_workers() == ()
    await transport.zadd(keys.WORKERS, {"w1": await redis_now_ms(transport) - 60_000})
    assert await registry.workers() == ()
    assert await registry.lost_workers() == ("w1",)
    reaped = await registry.reap("w1")
    assert reaped is not None
    assert reaped.requeued == ("old",)
    assert await queue.position("old", VARIANT) == 0
    assert await queue.take("w1", VARIANT) == -1
    assert await registry.heartbeat(worker_info("w1")) is None, "it must learn that it was declared lost"


async def test_an_attempt_that_redis_assigned_twice_has_one_writer(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry, journal: Journal
) -> None:
    """The accident: Redis loses its last second, assigns what began in it to another worker as the same attempt, and
    two answers are written into each other."""
    await queue.enqueue(generation_request("g"), "gw", 10)
    await queue.take("w1", VARIANT)
    # What was before it.
    await transport.hset(keys.generation_state("g"), mapping={"status": "waiting", "worker": ""})
    await transport.srem(keys.worker_running("w1"), "g")
    await transport.zadd(keys.waiting(VARIANT), {"g": 1})
    await registry.heartbeat(worker_info("w2"), register=True)
    await registry.set_slots("w2", VARIANT, 1)
    assert await queue.take("w2", VARIANT) == 1
    assert await journal.append("w2", [delta("g", 1, 1)]) == frozenset()
    assert await journal.append("w1", [delta("g", 1, 1)]) == {("g", 1)}
    assert len(await journal.read("g")) == 1


async def test_it_is_told_why_a_generation_moved_on(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry, journal: Journal
) -> None:
    await queue.enqueue(generation_request("g"), "gw", 10)
    assert await queue.moves("g") == {}
    await queue.take("w1", VARIANT, released_slots=1)
    assert await queue.requeue("w1", "g", 1, "not_ready") == 2
    await queue.take("w1", VARIANT, released_slots=1)
    await journal.append("w1", [NewEntry("g", 2, "started", 0, [], b"{}")])
    await registry.reap("w1", silent_ms=0)
    await registry.heartbeat(worker_info("w1"), register=True)
    for _ in range(2):
        await registry.set_slots("w1", VARIANT, 1)
        await queue.take("w1", VARIANT)
        await transport.zadd(keys.WORKERS, {"w1": await redis_now_ms(transport) - 60_000})
        await registry.reap("w1")
        await registry.heartbeat(worker_info("w1"), register=True)
    assert await queue.moves("g") == {
        Move("not_ready", "new_request"): 1,
        Move("worker_left", "ongoing_request"): 1,
        Move("worker_lost", "ongoing_request"): 2,
    }


async def test_a_generation_that_kills_its_workers_is_given_up(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry
) -> None:
    await queue.enqueue(generation_request("g"), "gw", 10)
    for attempt in range(1, MAX_ATTEMPTS):
        await queue.take("w1", VARIANT, released_slots=1)
        assert await queue.requeue("w1", "g", attempt) == attempt + 1
    await queue.take("w1", VARIANT, released_slots=1)
    assert await queue.requeue("w1", "g", MAX_ATTEMPTS) == -1
    await transport.zrem(keys.WORKERS, "w1")
    reaped = await registry.reap("w1")
    assert reaped is not None
    assert reaped.spent == ("g",)
    assert await transport.hget(keys.generation_state("g"), "status") == b"ended"
    (entry,) = await Journal(transport).read("g")
    assert entry.kind == "failed"
    assert b"worker_lost" in entry.frame


async def test_an_answer_that_grows_is_never_given_up_for_its_lost_workers(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry, journal: Journal
) -> None:
    """The accident: a long answer outlives four workers, and the loss of the fifth fails it."""
    await queue.enqueue(generation_request("g"), "gw", 10)
    for attempt in range(1, 3 * MAX_ATTEMPTS):
        await queue.take("w1", VARIANT, released_slots=1)
        if attempt % 2:
            await journal.append("w1", [NewEntry("g", attempt, "delta", attempt, (65,), b"{}")])
        assert await queue.requeue("w1", "g", attempt) == attempt + 1


async def test_a_worker_that_leaves_takes_no_attempt(
    transport: AsyncRedis, queue: WaitingQueue, registry: Registry
) -> None:
    """The accident: a rolling restart of many workers, and what waited through all of it is given up at the end."""
    await queue.enqueue(generation_request("g"), "gw", 10)
    for _ in range(2 * MAX_ATTEMPTS):
        await registry.heartbeat(worker_info("w1"), register=True)
        await registry.set_slots("w1", VARIANT, 1)
        assert await queue.take("w1", VARIANT) == 1
        reaped = await registry.reap("w1", silent_ms=0)
        assert reaped is not None
        assert reaped.requeued == ("g",)
