"""What was stored or is on its way survives a kill -9 of any process, Redis included."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared import keys
from shared.schemas.chats import Chat, StoredMessage
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
LONG = {"max_new_tokens": 200}


@pytest.fixture
def pool(own_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    """A pool whose every process a test may kill; nothing runs in it yet but Redis."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    yield pool
    pool.stop()


async def begin(gateway: Gateway) -> tuple[Socket, list[Frame]]:
    """Ask for a long answer and return in the middle of it."""
    socket = await Socket(gateway.socket_url).__aenter__()
    await socket.chat("sample", "keep me", params=LONG)
    frames = await socket.receive_until("generation.delta")
    return socket, frames + [await socket.receive() for _ in range(10)]


async def resumed(gateway: Gateway, seen: list[Frame]) -> list[Frame]:
    """Return the whole answer: what was seen of it and what another socket gets of the rest."""
    async with Socket(gateway.socket_url) as socket:
        frame = {"type": "generation.resume", "generation_id": seen[0]["generation_id"], "after_seq": seen[-1]["seq"]}
        await socket.send(frame)
        rest = await socket.receive_until(*ENDS)
    whole = seen + [frame for frame in rest if frame["type"] != "generation.started"]
    assert_whole(whole)
    return whole


def read(gateway: Gateway, chat_id: str) -> Chat:
    with gateway.client() as client:
        return Chat.model_validate_json(client.get(f"/api/v1/chats/{chat_id}").raise_for_status().content)


def answer_in_redis(pool: Pool, queued: Frame) -> StoredMessage:
    """Return an answer as it is stored, without a gateway that would look after it when asked."""
    with redis.Redis.from_url(pool.redis_url) as client:
        raw = client.hget(keys.chat_messages(queued["chat_id"]), queued["message_id"])
    assert isinstance(raw, bytes)
    return StoredMessage.model_validate_json(raw)


def wait_until_ended(pool: Pool, queued: Frame) -> None:
    with redis.Redis.from_url(pool.redis_url) as client:
        key = keys.generation_state(queued["generation_id"])
        wait_until(lambda: client.hget(key, "status") == b"ended", what="the worker ends the answer")


async def test_an_answer_outlives_the_gateway_that_began_it(pool: Pool) -> None:
    mortal, other = pool.gateway(), pool.gateway()
    pool.worker()
    socket, seen = await begin(mortal)
    mortal.kill()
    whole = await resumed(other, seen)
    wait_until(lambda: answer_in_redis(pool, seen[0]).status == "done", what="the other gateway stores the answer")
    assert read(other, seen[0]["chat_id"]).messages[1].content == answer_text(whole)
    socket.connection.transport.abort()


async def test_an_answer_that_ends_without_any_gateway_is_stored_by_the_next(pool: Pool) -> None:
    mortal = pool.gateway()
    pool.worker()
    socket, seen = await begin(mortal)
    mortal.kill()
    wait_until_ended(pool, seen[0])
    assert answer_in_redis(pool, seen[0]).status == "running"
    reborn = pool.gateway(port=mortal.port)
    wait_until(lambda: answer_in_redis(pool, seen[0]).status == "done", what="the next gateway stores the answer")
    whole = await resumed(reborn, seen)
    stored = read(reborn, seen[0]["chat_id"]).messages[1]
    assert (stored.content, stored.finish_reason) == (answer_text(whole), "length")
    socket.connection.transport.abort()


async def test_an_end_that_a_gateway_took_to_its_grave_is_taken_over(pool: Pool) -> None:
    """The accident: a gateway reads of an answer's end, dies before it has stored it, and nobody else does."""
    mortal = pool.gateway()
    pool.worker()
    socket, seen = await begin(mortal)
    mortal.kill()
    wait_until_ended(pool, seen[0])
    with redis.Redis.from_url(pool.redis_url) as client:
        taken = client.xreadgroup(keys.FINALIZERS, "gw_dead", {keys.FINISHED: ">"})
        ((_, ((entry_id, _),)),) = taken
        # As if it had been dead for longer than the others wait.
        client.xclaim(keys.FINISHED, keys.FINALIZERS, "gw_dead", 0, [entry_id], idle=60_000)
    pool.gateway()
    wait_until(lambda: answer_in_redis(pool, seen[0]).status == "done", what="the end is taken over")
    assert answer_in_redis(pool, seen[0]).content
    socket.connection.transport.abort()


async def test_an_answer_outlives_its_worker(pool: Pool) -> None:
    gateway = pool.gateway()
    mortal = pool.worker()
    socket, seen = await begin(gateway)
    mortal.kill()
    pool.worker()
    seen += await socket.receive_until(*ENDS)
    assert_whole(seen)
    assert "generation.resumed" in [frame["type"] for frame in seen]
    stored = read(gateway, seen[0]["chat_id"]).messages[1]
    assert (stored.content, stored.status) == (answer_text(seen), "done")
    socket.connection.transport.abort()


async def test_redis_killed_in_the_middle_of_an_answer(pool: Pool, own_redis: RedisServer) -> None:
    """Everything comes back from the append-only file: the earlier chat, the question, the answer that ran."""
    gateway = pool.gateway()
    pool.worker()
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "before", system="stay", params={"max_new_tokens": 8})
        before = await socket.receive_until(*ENDS)
    earlier = read(gateway, before[0]["chat_id"])
    assert earlier.messages[1].status == "done"
    socket, seen = await begin(gateway)
    own_redis.kill()
    own_redis.start()
    wait_until(gateway.is_ready)
    assert read(gateway, earlier.chat_id) == earlier
    seen += await socket.receive_until(*ENDS)
    assert_whole(seen)
    assert seen[-1]["type"] == "generation.finished"
    question, answer = read(gateway, seen[0]["chat_id"]).messages
    assert question.content == "keep me"
    assert (answer.content, answer.status) == (answer_text(seen), "done")
    socket.connection.transport.abort()


async def test_what_was_queued_is_there_after_redis_was_killed_at_once(pool: Pool, own_redis: RedisServer) -> None:
    """The accident: the client is told that its question waits, and a power cut loses the question."""
    gateway = pool.gateway()
    asked: list[Frame] = []
    for number in range(3):
        async with Socket(gateway.socket_url) as socket:
            await socket.chat("sample", f"question {number}", params={"max_new_tokens": 8})
            asked += await socket.receive_until("generation.queued")
            own_redis.kill()
            own_redis.start()
            wait_until(gateway.is_ready)
    pool.worker()
    for number, queued in enumerate(asked):
        wait_until(lambda queued=queued: answer_in_redis(pool, queued).status == "done", what="it is answered")  # type: ignore[misc]
        question, answer = read(gateway, queued["chat_id"]).messages
        assert (question.content, answer.status) == (f"question {number}", "done")
