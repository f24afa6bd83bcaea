"""The writer of journals and a Redis that goes away under it."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inference_worker.journal_writer import JournalWriter
from shared import keys, redis_client
from shared.journal import Attempt, Journal, NewEntry, encode_frame
from shared.redis_client import AsyncRedis, create_redis
from shared.schemas.generation import GenerationDelta
from tests.helpers.redis_relay import RedisRelay
from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.connected


def delta(generation_id: str, seq: int) -> NewEntry:
    frame = encode_frame(GenerationDelta(generation_id=generation_id, seq=seq, text="a"))
    return NewEntry(generation_id, 1, "delta", seq, (seq,), frame)


def end(generation_id: str, seq: int) -> NewEntry:
    return NewEntry(generation_id, 1, "finished", seq, (), b'{"type":"generation.finished"}')


@asynccontextmanager
async def running_writer(redis: AsyncRedis, refused: set[Attempt]) -> AsyncIterator[JournalWriter]:
    writer = JournalWriter(
        Journal(redis), worker_id=lambda: "w", on_refused=refused.update, on_appended=lambda entries: None
    )
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def assign(redis: AsyncRedis, *generation_ids: str) -> None:
    for generation_id in generation_ids:
        await redis.hset(
            keys.generation_state(generation_id), mapping={"attempt": 1, "status": "assigned", "worker": "w"}
        )


async def test_what_redis_missed_and_what_it_lost_is_appended_once(own_redis: RedisServer) -> None:
    """The accident: a Redis that comes back has lost its last moments, or those that went by without it."""
    redis = create_redis("test", own_redis.url, once=True)
    refused: set[Attempt] = set()
    names = ("missed", "lost", "ended", "left", "taken")
    try:
        await assign(redis, *names)
        async with running_writer(redis, refused) as writer:
            for seq in range(1, 31):
                writer.add(delta(name, seq) for name in names)
            await writer.flushed()
            # What a restored snapshot would not have.
            for n in range(21, 31):
                await redis.xdel(keys.journal("lost"), f"{n}-0")
            await redis.execute_command("XSETID", keys.journal("lost"), "20-0")  # type: ignore[no-untyped-call]
            await redis.hset(keys.generation_state("lost"), mapping={"n": 20, "seq": 20, "written:1": 20})
            await redis.hset(keys.generation_state("taken"), "attempt", 2)
            own_redis.kill()
            for seq in range(31, 41):
                writer.add(delta(name, seq) for name in names)
            writer.add([end("ended", 40)])
            writer.leave("left", 1)
            # Some more once it has noticed: these have no other place than with those that are kept.
            await asyncio.sleep(0.2)
            writer.add(delta(name, 41) for name in ("missed", "lost"))
            own_redis.start()
            await asyncio.wait_for(writer.flushed(), 20)
            journal = Journal(redis)
            for name, last in {"missed": 41, "lost": 41, "ended": 40, "left": 40, "taken": 30}.items():
                deltas = [entry for entry in await journal.read(name) if entry.kind == "delta"]
                assert [entry.seq for entry in deltas] == list(range(1, last + 1)), name
                assert [entry.token_ids for entry in deltas] == [(seq,) for seq in range(1, last + 1)]
                assert [entry.frame for entry in deltas] == [delta(name, seq).frame for seq in range(1, last + 1)]
            assert (await journal.read("ended"))[-1].kind == "finished"
            assert refused == {("taken", 1)}
    finally:
        await redis.aclose()


async def test_a_call_that_is_carried_out_late_appends_nothing_twice(
    session_redis: RedisServer, transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The accident: the network of Redis is away for fifteen seconds, and a call that was given up after ten is sent
    again by the kernel once it is back. Its tokens have been appended anew by then, and stand there twice."""
    monkeypatch.setattr(redis_client, "ANSWER_TIMEOUT_SECONDS", 0.2)
    async with RedisRelay(session_redis).running() as between:
        redis = create_redis("test", between.url, once=True)
        await assign(redis, "late")
        async with running_writer(redis, set()) as writer:
            writer.add([delta("late", 1)])
            await writer.flushed()
            between.hold(transport, "append", only_one=True)
            writer.add([delta("late", 2)])
            await between.caught()
            await asyncio.wait_for(writer.flushed(), 5)
            writer.add([delta("late", 3)])
            await writer.flushed()
            between.release()
            # Behind what was held.
            await asyncio.sleep(0.2)
            writer.add([delta("late", 4)])
            await writer.flushed()
        entries = await Journal(transport).read("late")
        await redis.aclose()
    assert [entry.seq for entry in entries] == [1, 2, 3, 4]


async def test_a_journal_whose_reading_is_never_answered_is_read_again(
    session_redis: RedisServer, transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The accident: the host of Redis loses its power, and of two connections that nobody has ended one is given up and
    the journals are read over the other. All answers stand still here, and the worker says that it lives."""
    monkeypatch.setattr(redis_client, "ANSWER_TIMEOUT_SECONDS", 0.2)
    async with RedisRelay(session_redis).running() as between:
        redis = create_redis("test", between.url, once=True)
        await assign(redis, "half-open")
        async with running_writer(redis, set()) as writer:
            between.hold(transport, "append", only_one=True)
            writer.add([delta("half-open", 1)])
            await between.caught()
            between.hold_command("XRANGE")
            await between.caught()
            await asyncio.wait_for(writer.flushed(), 5)
        entries = await Journal(transport).read("half-open")
        await redis.aclose()
    assert [entry.seq for entry in entries] == [1]


async def test_what_is_added_later_is_not_waited_for(transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accident: a replica dies, and while another one's steps come faster than Redis writes them to its disk, its
    answers are not given to anybody else."""
    append = Journal.append

    async def slow_append(journal: Journal, *arguments: Any) -> frozenset[Attempt]:
        await asyncio.sleep(0.05)
        return await append(journal, *arguments)

    monkeypatch.setattr(Journal, "append", slow_append)
    await assign(transport, "died", "busy")

    async def steps(writer: JournalWriter) -> None:
        for seq in itertools.count(1):
            writer.add([delta("busy", seq)])
            await asyncio.sleep(0.01)

    async with running_writer(transport, set()) as writer:
        busy = asyncio.create_task(steps(writer))
        await asyncio.sleep(0.1)
        writer.add([delta("died", 1)])
        try:
            await asyncio.wait_for(writer.flushed(), 2)
            assert len(await Journal(transport).read("died")) == 1
        finally:
            busy.cancel()


async def test_an_open_answer_keeps_few_bytes_a_delta_and_one_that_was_left_none(redis_url: str) -> None:
    """The accident: entries of attempts that another worker continues were kept until this one was restarted."""
    redis = create_redis("test", redis_url, once=True)
    names = [f"kept-{number}" for number in range(20)]
    try:
        await assign(redis, *names)
        async with running_writer(redis, set()) as writer:

            async def answer(first: int, last: int) -> None:
                for seq in range(first, last):
                    writer.add(delta(name, seq) for name in names)
                    await writer.flushed()

            await answer(1, 10)
            tracemalloc.start()
            try:
                begin, _ = tracemalloc.get_traced_memory()
                await answer(10, 110)
                grown, _ = tracemalloc.get_traced_memory()
                for name in names:
                    writer.leave(name, 1)
                await writer.flushed()
                left, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        per_delta = (grown - begin) / (100 * len(names))
        assert per_delta < 60
        assert grown - left > 15 * 100 * len(names)
    finally:
        await redis.aclose()
