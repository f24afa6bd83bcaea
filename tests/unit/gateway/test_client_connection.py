from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.client.connection import Connection
from shared.errors import InternalError, InvalidApiKey, JournalExpired, ModelNotFound, Unavailable
from shared.schemas.generation import GenerationDelta, GenerationFinished
from tests.unit.gateway.scripted_gateway import KEY, Peer, scripted_gateway


async def _whole_answer(peer: Peer) -> None:
    await peer.accept()
    await peer.start()
    await peer.deltas("Par", "is")
    await peer.finish(2)
    await peer.socket.wait_closed()


async def test_an_answer_comes_as_typed_events_to_its_end() -> None:
    async with scripted_gateway(_whole_answer) as url, Connection(url, KEY) as connection:
        generation = await connection.send("m", "What is the capital of France?")
        assert (connection.user, generation.generation_id, generation.chat_id) == ("admin", "g1", "c1")
        kinds = [event.type async for event in generation]
    expected = ["queued", "started", "delta", "delta", "finished"]
    assert kinds == [f"generation.{kind}" for kind in expected]


async def test_a_lost_socket_costs_no_delta_and_repeats_none() -> None:
    """The accident: the connection breaks in the middle of an answer, and the replay overlaps what was received."""
    heard: list[dict[str, object]] = []

    async def breaks(peer: Peer) -> None:
        await peer.accept()
        await peer.start()
        await peer.deltas("a", "b")
        peer.socket.transport.abort()

    async def replays(peer: Peer) -> None:
        heard.append(await peer.hear())
        await peer.start()
        await peer.deltas("b", "c", "d", first_seq=2)
        await peer.finish(4)
        await peer.socket.wait_closed()

    async with scripted_gateway(breaks, replays) as url, Connection(url, KEY) as connection:
        generation = await connection.send("m", "letters")
        events = [event async for event in generation]
    assert heard[0]["type"] == "generation.resume"
    assert [event.seq for event in events if isinstance(event, GenerationDelta)] == [1, 2, 3, 4]
    assert "".join(event.text for event in events if isinstance(event, GenerationDelta)) == "abcd"
    assert [event.type for event in events].count("generation.started") == 1


async def test_a_question_that_was_not_accepted_is_asked_again_under_its_request_id() -> None:
    """The accident: the gateway dies between receiving a question and saying that it is queued."""
    asked: list[dict[str, object]] = []

    async def dies(peer: Peer) -> None:
        asked.append(await peer.hear())
        peer.socket.transport.abort()

    async def answers(peer: Peer) -> None:
        asked.append(await peer.accept())
        await peer.start()
        await peer.finish(0)
        await peer.socket.wait_closed()

    async with scripted_gateway(dies, answers) as url, Connection(url, KEY) as connection:
        assert await (await connection.send("m", "hello")).text() == ""
    assert asked[0] == asked[1]


async def test_cancel_ends_the_answer_and_survives_a_lost_socket() -> None:
    """The accident: the command to cancel is in the socket's buffer when the socket breaks."""
    cancelled = asyncio.Event()

    async def breaks(peer: Peer) -> None:
        await peer.accept()
        await peer.start()
        assert (await peer.hear())["type"] == "generation.cancel"
        peer.socket.transport.abort()

    async def obeys(peer: Peer) -> None:
        assert (await peer.hear())["type"] == "generation.resume"
        assert (await peer.hear())["type"] == "generation.cancel"
        cancelled.set()
        await peer.finish(0, reason="cancelled")
        await peer.socket.wait_closed()

    async with scripted_gateway(breaks, obeys) as url, Connection(url, KEY) as connection:
        generation = await connection.send("m", "a long story")
        await generation.cancel()
        last = [event async for event in generation][-1]
    assert cancelled.is_set()
    assert isinstance(last, GenerationFinished)
    assert last.finish_reason == "cancelled"


async def test_a_question_whose_asker_left_is_cancelled_once_it_has_an_id() -> None:
    """The accident: Ctrl-C before the answer is queued leaves a generation that nobody reads."""
    received, named = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        frame = await peer.hear()
        received.set()
        await peer.socket.ping()
        await left.wait()
        await peer.say(
            "generation.queued",
            request_id=frame["request_id"],
            generation_id="g1",
            chat_id="c1",
            user_message_id="u1",
            message_id="g1",
            position=4,
        )
        assert await peer.hear() == {"type": "generation.cancel", "generation_id": "g1"}
        named.set()
        await peer.socket.wait_closed()

    left = asyncio.Event()
    async with scripted_gateway(slow) as url, Connection(url, KEY) as connection:
        asking = asyncio.create_task(connection.send("m", "hello"))
        await received.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        left.set()
        await asyncio.wait_for(named.wait(), 10)


async def test_a_question_waits_for_the_end_of_what_was_cancelled_in_its_chat() -> None:
    """The accident: who gives an answer up and asks the next question at once is told that the chat is busy."""
    other_chats: list[dict[str, object]] = []

    async def holds_on(peer: Peer) -> None:
        await peer.accept()
        await peer.start()
        assert (await peer.hear())["type"] == "generation.cancel"
        other_chats.append(await peer.accept("g2"))
        # Whatever the client had sent before its answer to the ping would be here by now.
        hearing = asyncio.create_task(peer.accept("g3"))
        await (await peer.socket.ping())
        was_early.append(hearing.done())
        await peer.finish(0, reason="cancelled")
        assert (await hearing)["content"] == "next"
        await peer.socket.wait_closed()

    was_early: list[bool] = []
    async with asyncio.timeout(10), scripted_gateway(holds_on) as url, Connection(url, KEY) as connection:
        generation = await connection.send("m", "a long story")
        await generation.cancel()
        asking = asyncio.create_task(connection.send("m", "next", chat_id="c1"))
        await connection.send("m", "elsewhere")
        assert (await asking).generation_id == "g3"
    assert was_early == [False]
    assert [frame["content"] for frame in other_chats] == ["elsewhere"]


async def test_a_question_that_was_given_up_unheard_is_waited_for_too() -> None:
    """The accident: Ctrl-C twice while the gateway hangs; what it then hears are two questions for one branch."""
    heard, given_up = asyncio.Event(), asyncio.Event()

    async def hangs(peer: Peer) -> None:
        frame = await peer.hear()
        heard.set()
        await given_up.wait()
        hearing = asyncio.create_task(peer.accept("g2"))
        await (await peer.socket.ping())
        was_early.append(hearing.done())
        error = {"message": "no", "type": "server_error", "param": None, "code": "internal_error"}
        await peer.say("error", request_id=frame["request_id"], error=error)
        assert (await hearing)["content"] == "next"
        await peer.socket.wait_closed()

    was_early: list[bool] = []
    async with asyncio.timeout(10), scripted_gateway(hangs) as url, Connection(url, KEY) as connection:
        first = asyncio.create_task(connection.send("m", "first", chat_id="c1"))
        await heard.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        asking = asyncio.create_task(connection.send("m", "next", chat_id="c1"))
        given_up.set()
        assert (await asking).generation_id == "g2"
    assert was_early == [False]


async def test_a_refused_question_raises_its_error_and_the_socket_lives_on() -> None:
    async def refuses(peer: Peer) -> None:
        frame = await peer.hear()
        body = {"message": "no model nix", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
        await peer.say("error", request_id=frame["request_id"], error=body)
        await _whole_answer(peer)

    async with scripted_gateway(refuses) as url, Connection(url, KEY) as connection:
        with pytest.raises(ModelNotFound, match="no model nix"):
            await connection.send("nix", "hello")
        assert await (await connection.send("m", "hello")).text() == "Paris"


async def test_an_expired_generation_raises_from_its_iterator() -> None:
    async def expired(peer: Peer) -> None:
        assert (await peer.hear())["after_seq"] == 7
        body = {"message": "gone", "type": "invalid_request_error", "param": None, "code": "journal_expired"}
        await peer.say("error", generation_id="g1", error=body)
        await peer.socket.wait_closed()

    async with scripted_gateway(expired) as url, Connection(url, KEY) as connection:
        with pytest.raises(JournalExpired):
            await (await connection.resume("g1", after_seq=7)).text()


async def test_a_left_out_delta_is_an_error_and_not_a_shorter_answer() -> None:
    async def skips(peer: Peer) -> None:
        await peer.accept()
        await peer.deltas("a")
        await peer.deltas("c", first_seq=3)
        await peer.socket.wait_closed()

    async with scripted_gateway(skips) as url, Connection(url, KEY) as connection:
        generation = await connection.send("m", "letters")
        with pytest.raises(InternalError, match="left out deltas 2 to 2"):
            await generation.text()


async def test_a_wrong_key_is_said_at_once() -> None:
    async with scripted_gateway() as url:
        with pytest.raises(InvalidApiKey, match="no such key"):
            async with Connection(url, "wrong"):
                pass


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_nobody_at_the_address_names_the_address_and_the_remedy() -> None:
    url = f"http://127.0.0.1:{_unused_port()}"
    with pytest.raises(Unavailable, match=f"no gateway at {url}; start one with `[^`]*ovchat up`"):
        async with Connection(url, KEY):
            pass


async def test_a_gateway_that_stays_away_fails_the_open_answer_and_may_come_back_later() -> None:
    """The accident: a chat left open over a restart of the gateway is dead for good."""

    async def breaks(peer: Peer) -> None:
        await peer.accept()
        peer.socket.transport.abort()

    port = _unused_port()
    gateway = scripted_gateway(breaks, port=port)
    url = await gateway.__aenter__()
    async with Connection(url, KEY, reconnect_seconds=0) as connection:
        generation = await connection.send("m", "hello")
        await gateway.__aexit__(None, None, None)
        # Its first socket may still have reached the closing server; what counts is that the failure is told.
        with pytest.raises(Unavailable):
            await generation.text()
        async with scripted_gateway(_whole_answer, port=port):
            assert await (await connection.send("m", "hello")).text() == "Paris"
