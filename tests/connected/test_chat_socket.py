"""Chats over the WebSocket: order, refusals, turns and branches, cancelling, resuming."""

import asyncio

import pytest
import redis
import websockets

from shared import keys
from shared.schemas.chats import StoredMessage
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
SHORT = {"max_new_tokens": 12}
LONG = {"max_new_tokens": 400}


async def whole_answer(socket: Socket, model: str, content: str, **fields: object) -> list[Frame]:
    await socket.chat(model, content, **fields)
    frames = await socket.receive_until(*ENDS, "error")
    assert_whole(frames)
    return frames


async def test_a_chat_streams_whole(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        frames = await whole_answer(socket, "sample", "Hello", params=SHORT)
    queued, started, end = (
        frames[0],
        next(frame for frame in frames if frame["type"] == "generation.started"),
        frames[-1],
    )
    assert queued["message_id"] == queued["generation_id"]
    assert (started["model"], started["variant"], started["device"]) == ("sample", "int4", "CPU")
    assert started["prompt_tokens"] == end["usage"]["prompt_tokens"] > 0
    assert end["finish_reason"] == "length"
    assert end["usage"]["completion_tokens"] == 12
    assert end["timings"]["total_ms"] >= end["timings"]["first_token_ms"] >= end["timings"]["queue_ms"] >= 0
    assert answer_text(frames)


async def test_an_answer_is_stored_with_its_provenance(gateway: Gateway, pool: Pool) -> None:
    async with Socket(gateway.socket_url) as socket:
        frames = await whole_answer(socket, "sample:int4", "Store me", params=SHORT)
    queued = frames[0]
    with redis.Redis.from_url(pool.redis_url) as client:

        def message() -> StoredMessage:
            raw = client.hget(keys.chat_messages(queued["chat_id"]), queued["message_id"])
            assert isinstance(raw, bytes)
            return StoredMessage.model_validate_json(raw)

        wait_until(lambda: message().status != "running")
        stored = message()
    assert stored.content == answer_text(frames)
    assert stored.parent_message_id == queued["user_message_id"]
    assert stored.provenance is not None
    assert stored.provenance.usage is not None
    assert stored.provenance.usage.completion_tokens == 12


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{no json", "invalid_frame", None),
        ("[]", "invalid_frame", None),
        ('"text"', "invalid_frame", None),
        ('{"type": "chat.sned"}', "invalid_frame", None),
        ({"type": "chat.send", "request_id": "r", "model": "sample"}, "invalid_frame", "content"),
        ({"type": "chat.send", "request_id": "r", "model": "sample", "content": "x", "k": 1}, "invalid_frame", "k"),
        ({"type": "generation.cancel", "generation_id": "gen_x"}, "generation_not_found", "generation_id"),
        ({"type": "generation.resume", "generation_id": "gen_x", "after_seq": 0}, "journal_expired", None),
    ],
)
async def test_a_bad_frame_is_refused_and_the_socket_lives_on(
    gateway: Gateway, frame: Frame | str, code: str, param: str | None
) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.send(frame)
        refusal = await socket.receive()
        assert (refusal["type"], refusal["error"]["code"]) == ("error", code)
        assert param is None or refusal["error"]["param"] == param
        if isinstance(frame, dict):
            assert refusal["request_id"] == frame.get("request_id")
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 2.1},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"repetition_penalty": 0},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"seed": -1},
        {"temprature": 1},
    ],
)
async def test_parameters_out_of_range_are_named(gateway: Gateway, params: dict[str, object]) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "hi", params=params)
        refusal = await socket.receive()
    assert refusal["error"]["code"] == "invalid_frame"
    assert next(iter(params)) in refusal["error"]["param"]


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("nobody", "model_not_found"),
        ("smaple", "model_not_found"),
        ("qwen2-7b-instruct", "model_not_converted"),
        ("Qwen/Qwen2-7B-Instruct", "model_not_converted"),
        ("sample:fp16", "variant_not_published"),
        ("../..:int4", "model_not_found"),
    ],
)
async def test_a_model_that_is_not_there_says_what_is(gateway: Gateway, model: str, code: str) -> None:
    async with Socket(gateway.socket_url) as socket:
        request_id = await socket.chat(model, "hi")
        refusal = await socket.receive()
    assert refusal["request_id"] == request_id
    assert refusal["error"]["code"] == code
    if model == "smaple":
        assert "sample" in refusal["error"]["message"]


async def test_a_frame_over_one_mebibyte_closes_the_socket(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.send("x" * ((1 << 20) + 1))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_prompt_longer_than_the_context_fails_clearly(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        frames = await whole_answer(socket, "sample", "word " * 3000)
        assert frames[-1]["error"]["code"] == "context_length_exceeded"
        assert "512" in frames[-1]["error"]["message"]
        await whole_answer(socket, "sample", "short", params=SHORT)


async def test_old_turns_are_dropped_whole_and_counted(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        chat_id = None
        dropped = []
        for _ in range(6):
            frames = await whole_answer(socket, "sample", "many words " * 12, chat_id=chat_id, params=SHORT)
            chat_id = frames[0]["chat_id"]
            started = next(frame for frame in frames if frame["type"] == "generation.started")
            dropped.append(started["dropped_turns"])
            assert started["prompt_tokens"] + 12 <= 512
    assert dropped[0] == 0
    assert dropped[-1] > 0
    assert dropped == sorted(dropped)


async def test_the_same_request_is_the_same_generation(gateway: Gateway) -> None:
    """The accident: a client that lost its socket sends its question again and it is answered twice."""
    frame = {"type": "chat.send", "request_id": "twice", "model": "sample", "content": "once", "params": SHORT}
    async with Socket(gateway.socket_url) as one, Socket(gateway.socket_url) as two:
        await one.send(frame)
        first = await one.receive_until(*ENDS)
        await two.send(frame)
        second = await two.receive_until(*ENDS)
    assert first[0]["generation_id"] == second[0]["generation_id"]
    assert answer_text(first) == answer_text(second)


async def test_turns_branches_and_a_busy_branch(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        first = await whole_answer(socket, "sample", "one", params=SHORT)
        chat_id, answer_id = first[0]["chat_id"], first[0]["message_id"]
        second = await whole_answer(socket, "sample", "two", chat_id=chat_id, params=SHORT)
        assert second[0]["chat_id"] == chat_id
        await socket.send(
            {"type": "chat.regenerate", "request_id": "again", "chat_id": chat_id, "message_id": answer_id}
        )
        again = await socket.receive_until(*ENDS)
        assert_whole(again)
        assert again[0]["user_message_id"] == first[0]["user_message_id"]
        assert again[0]["message_id"] != answer_id
        edited = await whole_answer(
            socket, "sample", "other two", chat_id=chat_id, parent_message_id=answer_id, params=SHORT
        )
        assert edited[0]["chat_id"] == chat_id
        await socket.chat("sample", "a long one", chat_id=chat_id, params=LONG)
        running = (await socket.receive_until("generation.delta"))[0]
        await socket.chat("sample", "too early", chat_id=chat_id)
        refusal = (await socket.receive_until("error"))[-1]
        assert refusal["error"]["code"] == "chat_busy"
        await socket.send({"type": "generation.cancel", "generation_id": running["generation_id"]})
        await socket.receive_until(*ENDS)
        await socket.chat("sample", "whose?", chat_id="chat_of_someone_else")
        assert (await socket.receive())["error"]["code"] == "chat_not_found"


async def test_cancel_ends_at_once_and_once(gateway: Gateway) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "talk", params=LONG)
        frames = await socket.receive_until("generation.delta")
        cancel = {"type": "generation.cancel", "generation_id": frames[0]["generation_id"]}
        await socket.send(cancel)
        await socket.send(cancel)
        frames += await socket.receive_until(*ENDS)
        assert_whole(frames)
        assert frames[-1]["finish_reason"] == "cancelled"
        assert frames[-1]["usage"]["completion_tokens"] < 400
        await socket.send(cancel)
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}, "cancelling an ended generation is silent"


async def test_an_answer_is_resumed_on_another_gateway(gateway: Gateway, pool: Pool) -> None:
    """The accident: a socket breaks in the middle of an answer and the client misses or repeats a piece."""
    other = pool.gateway()
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "go on", params={"max_new_tokens": 200})
        seen = await socket.receive_until("generation.delta")
        seen += [await socket.receive() for _ in range(10)]
    resume = {
        "type": "generation.resume",
        "generation_id": seen[0]["generation_id"],
        "after_seq": seen[-1]["seq"],
    }
    async with Socket(other.socket_url) as one, Socket(gateway.socket_url) as two:
        for socket in (one, two):
            await socket.send(resume)
        rest_of_one, rest_of_two = await asyncio.gather(*(s.receive_until(*ENDS) for s in (one, two)))
    assert rest_of_one == rest_of_two
    assert rest_of_one[0]["type"] == "generation.started"
    assert_whole(seen + rest_of_one[1:])
    other.stop()


async def test_a_gateway_restart_in_the_middle_of_an_answer(pool: Pool) -> None:
    mortal = pool.gateway()
    async with Socket(mortal.socket_url) as socket:
        await socket.chat("sample", "survive", params={"max_new_tokens": 150})
        seen = await socket.receive_until("generation.delta")
        mortal.kill()
    reborn = pool.gateway(port=mortal.port)
    async with Socket(reborn.socket_url) as socket:
        await socket.send(
            {"type": "generation.resume", "generation_id": seen[0]["generation_id"], "after_seq": seen[-1]["seq"]}
        )
        rest = await socket.receive_until(*ENDS)
    assert_whole(seen + rest[1:])
    assert rest[-1]["type"] == "generation.finished"
    reborn.stop()


async def test_many_chats_at_once(gateway: Gateway) -> None:
    async def one(number: int) -> list[Frame]:
        async with Socket(gateway.socket_url) as socket:
            return await whole_answer(socket, "sample", f"chat {number}", params={"max_new_tokens": 40})

    answers = await asyncio.gather(*(one(number) for number in range(80)))
    assert all(frames[-1]["type"] == "generation.finished" for frames in answers)
    assert len({frames[0]["generation_id"] for frames in answers}) == 80


async def test_a_draining_gateway_tells_its_sockets(pool: Pool) -> None:
    leaving = pool.gateway()
    async with Socket(leaving.socket_url) as socket:
        stopping = asyncio.to_thread(leaving.stop, seconds=10)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await asyncio.gather(stopping, socket.receive())
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
