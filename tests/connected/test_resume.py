"""Resuming: a socket that breaks anywhere comes back on any gateway and gets every missed delta once."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared import keys
from shared.schemas.chats import Chat
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
CUTS = 60


@pytest.fixture(scope="module")
def other(pool: Pool) -> Gateway:
    """A second gateway of the pool."""
    return pool.gateway()


def resume(generation_id: str, after_seq: int) -> Frame:
    return {"type": "generation.resume", "generation_id": generation_id, "after_seq": after_seq}


async def pieces_until(socket: Socket, count: int) -> list[Frame]:
    """Return the next frames, some number of deltas or up to the end, without those that a resumption repeats."""
    got: list[Frame] = []
    while sum(frame["type"] == "generation.delta" for frame in got) < count:
        got.append(await socket.receive())
        if got[-1]["type"] in ENDS:
            break
    return [frame for frame in got if frame["type"] != "generation.started"]


def last_seq(frames: list[Frame]) -> int:
    return max((frame["seq"] for frame in frames if frame["type"] == "generation.delta"), default=0)


@pytest.mark.parametrize("seed", range(4))
async def test_an_answer_cut_again_and_again_is_whole(gateway: Gateway, other: Gateway, seed: int) -> None:
    """The accident: where a break falls between the journal's end and the live stream, a delta is lost or repeated."""
    dice = random.Random(seed)
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", f"cut {seed}", params={"max_new_tokens": 400})
        seen = await socket.receive_until("generation.queued")
        # A connection that is cut has no closing handshake.
        socket.connection.transport.abort()
    generation_id = seen[0]["generation_id"]
    cuts = 0
    while seen[-1]["type"] not in ENDS:
        async with Socket(dice.choice((gateway, other)).socket_url) as socket:
            await socket.send(resume(generation_id, last_seq(seen)))
            seen += await pieces_until(socket, dice.choice((0, 1, 1, 2, 3, 5, 8, 13, 40)))
            socket.connection.transport.abort()
        cuts += 1
        assert cuts < 2000
    assert_whole(seen)
    assert cuts > 5
    assert last_seq(seen) > 100


async def test_an_ended_answer_is_replayed_from_any_delta(gateway: Gateway, other: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "whole", params={"max_new_tokens": 300})
        frames = await socket.receive_until(*ENDS)
    started = next(frame for frame in frames if frame["type"] == "generation.started")
    deltas = [frame for frame in frames if frame["type"] == "generation.delta"]
    dice = random.Random(1)
    cut_points = [0, 1, len(deltas) - 1, len(deltas), len(deltas) + 5, *dice.choices(range(len(deltas)), k=CUTS)]
    async with Socket(gateway.socket_url) as one, Socket(other.socket_url) as two:
        for after_seq in cut_points:
            socket = dice.choice((one, two))
            await socket.send(resume(frames[0]["generation_id"], after_seq))
            assert await socket.receive_until(*ENDS) == [started, *deltas[after_seq:], frames[-1]]


async def test_two_sockets_watch_one_generation(gateway: Gateway, other: Gateway) -> None:
    async with Socket(gateway.socket_url) as asker, Socket(gateway.socket_url) as near, Socket(other.socket_url) as far:
        await asker.chat("sample", "for three", params={"max_new_tokens": 200})
        seen = await asker.receive_until("generation.delta")
        for watcher in (near, far):
            await watcher.send(resume(seen[0]["generation_id"], 0))
        rest, *watched = await asyncio.gather(*(socket.receive_until(*ENDS) for socket in (asker, near, far)))
        seen += rest
        assert_whole(seen)
        for frames in watched:
            assert [frame for frame in frames if frame["type"] != "generation.queued"] == seen[1:]


async def test_one_socket_that_resumes_twice_follows_once(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "twice", params={"max_new_tokens": 150})
        seen = await socket.receive_until("generation.delta")
        for _ in range(2):
            await socket.send(resume(seen[0]["generation_id"], 0))
        frames = await socket.receive_until(*ENDS)
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}, "nothing comes behind the end"
    last = len(frames) - 1 - [frame["type"] for frame in reversed(frames)].index("generation.started")
    replayed = [frame["seq"] for frame in frames[last:] if frame["type"] == "generation.delta"]
    assert replayed == list(range(1, replayed[-1] + 1))


async def test_an_answer_is_resumed_over_gateways_that_are_killed(pool: Pool) -> None:
    mortal = pool.gateway()
    async with Socket(mortal.socket_url) as socket:
        await socket.chat("sample", "survive", params={"max_new_tokens": 450})
        seen = await socket.receive_until("generation.delta")
        mortal.kill()
        socket.connection.transport.abort()
    for _ in range(2):
        reborn = pool.gateway(port=mortal.port)
        async with Socket(reborn.socket_url) as socket:
            await socket.send(resume(seen[0]["generation_id"], last_seq(seen)))
            seen += await pieces_until(socket, 30)
            reborn.kill()
            socket.connection.transport.abort()
        if seen[-1]["type"] in ENDS:
            break
    async with Socket(pool.gateways[0].socket_url) as socket:
        await socket.send(resume(seen[0]["generation_id"], last_seq(seen)))
        seen += await pieces_until(socket, 1000)
    assert_whole(seen)
    assert seen[-1]["type"] == "generation.finished"


@pytest.fixture
def forgetful(own_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    """A pool that forgets a journal one second after its end."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    try:
        pool.gateway({"OVCHAT_JOURNAL_TTL_SECONDS": "1"})
        pool.worker()
        yield pool
    finally:
        pool.stop()


async def test_after_the_journal_has_expired_the_message_is_read(forgetful: Pool) -> None:
    gateway = forgetful.gateways[0]
    async with Socket(gateway.socket_url) as socket:
        question = {"model": "sample", "content": "soon forgotten", "params": {"max_new_tokens": 20}}
        await socket.send({"type": "chat.send", "request_id": "r1", **question})
        frames = await socket.receive_until(*ENDS)
        generation_id = frames[0]["generation_id"]
        with redis.Redis.from_url(forgetful.redis_url) as client:
            names = (keys.journal(generation_id), keys.generation_state(generation_id), keys.watchers(generation_id))
            wait_until(lambda: client.exists(*names) == 0, what="the journal expires")
        await socket.send(resume(generation_id, 3))
        refusal = await socket.receive()
        assert refusal["error"]["code"] == "journal_expired"
        assert refusal["generation_id"] == generation_id
        # A laptop that slept says it again: the same request is the same generation for a day, and does not run anew.
        await socket.send({"type": "chat.send", "request_id": "r1", **question})
        refusal = await socket.receive()
        assert (refusal["request_id"], refusal["error"]["code"]) == ("r1", "journal_expired")
    with gateway.client() as client:
        chat = Chat.model_validate_json(client.get(f"/api/v1/chats/{frames[0]['chat_id']}").content)
    _, answer = chat.messages
    assert answer.content == answer_text(frames)
