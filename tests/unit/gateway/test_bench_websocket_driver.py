"""The bench's socket driver against scripted gateways: what goes wrong is a figure, never a hang or a traceback."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.client.bench.driver import Wish
from gateway.client.bench.prompts import Question
from gateway.client.bench.sample import Sample
from gateway.client.bench.websocket_driver import WebSocketDriver
from shared.errors import InvalidApiKey, Unavailable
from tests.helpers.redis_server import free_port
from tests.helpers.services import wait_until
from tests.unit.gateway.scripted_gateway import KEY, Peer, Script, scripted_gateway

WISH = Wish("m:int4", 8)


async def _ask(url: str, *, questions: int = 1) -> list[Sample]:
    driver = WebSocketDriver(url, KEY)
    samples = [Sample(time.perf_counter()) for _ in range(questions)]
    try:
        await driver.open(1)
        for sample in samples:
            async with asyncio.timeout(10):
                await driver.ask(0, Question("Hello"), WISH, sample)
    finally:
        await driver.close()
    return samples


async def _whole(peer: Peer) -> None:
    question = await peer.accept()
    params = question["params"]
    assert isinstance(params, dict)
    assert (params["temperature"], params["repetition_penalty"], params["max_new_tokens"]) == (0, 1, 8)
    await peer.start()
    await peer.deltas("a", "b")
    await peer.finish(2)


async def _dropped(peer: Peer) -> None:
    await peer.accept()
    await peer.deltas("a")
    await peer.socket.close(1013, "too slow")


async def _refused(peer: Peer) -> None:
    frame = await peer.hear()
    error = {"message": "full", "type": "service_unavailable", "code": "overloaded"}
    await peer.say("error", request_id=frame["request_id"], error=error)


async def _failed(peer: Peer) -> None:
    await peer.accept()
    error = {"message": "gone", "type": "service_unavailable", "code": "worker_lost"}
    await peer.say("generation.failed", generation_id="g1", error=error)


async def _left_out(peer: Peer) -> None:
    await peer.accept()
    await peer.deltas("a")
    await peer.deltas("c", first_seq=3)
    await peer.finish(3)


async def _two_on_one_socket(peer: Peer) -> None:
    for name in ("g1", "g2"):
        await peer.accept(name)
    for name in ("g2", "g1"):
        await peer.deltas("x", generation_id=name)
        await peer.finish(1, generation_id=name)


async def test_an_answer_fills_the_sample() -> None:
    async with scripted_gateway(_whole) as url:
        (sample,) = await _ask(url)
    assert sample.finished
    assert (sample.prompt_tokens, sample.completion_tokens, len(sample.deltas_at)) == (3, 2, 2)
    assert sample.timings is not None
    assert sample.intended_at <= (sample.sent_at or 0) <= sample.deltas_at[0] <= (sample.ended_at or 0)


@pytest.mark.parametrize(
    ("script", "code", "refused", "status"),
    [
        (_dropped, "connection_lost", False, None),
        (_refused, "overloaded", True, 503),
        (_failed, "worker_lost", False, 503),
        (_left_out, "sequence_broken", False, None),
    ],
)
async def test_what_goes_wrong_is_counted_by_its_code(
    script: Script, code: str, refused: bool, status: int | None
) -> None:
    async with scripted_gateway(script) as url:
        (sample,) = await _ask(url)
    assert sample.failure is not None
    assert (sample.failure.code, sample.failure.refused, sample.failure.status) == (code, refused, status)


async def test_a_dropped_socket_is_opened_again_for_the_next_question() -> None:
    async with scripted_gateway(_dropped, _whole) as url:
        first, second = await _ask(url, questions=2)
    assert first.failure is not None
    assert first.failure.message == "too slow"
    assert second.finished


async def test_questions_on_one_socket_are_told_apart() -> None:
    async with scripted_gateway(_two_on_one_socket) as url:
        driver = WebSocketDriver(url, KEY)
        await driver.open(1)
        samples = [Sample(time.perf_counter()) for _ in range(2)]
        await asyncio.gather(*(driver.ask(0, Question("Hello"), WISH, sample) for sample in samples))
        await driver.close()
    assert all(sample.finished for sample in samples)
    assert driver.chat_ids == ["c1", "c1"]


async def test_closing_cancels_what_is_open() -> None:
    """The accident: a bench that is broken off leaves the machine working on its answers."""
    heard: list[object] = []

    async def endless(peer: Peer) -> None:
        await peer.accept()
        heard.append((await peer.hear())["type"])
        await peer.finish(0, reason="cancelled")

    async with scripted_gateway(endless) as url:
        driver = WebSocketDriver(url, KEY)
        await driver.open(1)
        asking = asyncio.create_task(driver.ask(0, Question("Hello"), WISH, Sample(time.perf_counter())))
        await asyncio.to_thread(wait_until, lambda: driver.chat_ids)
        asking.cancel()
        await driver.close()
    assert heard == ["generation.cancel"]


async def test_no_gateway_and_a_wrong_key_are_said_at_once() -> None:
    with pytest.raises(Unavailable):
        await WebSocketDriver(f"http://127.0.0.1:{free_port()}", KEY).open(2)
    async with scripted_gateway(_whole) as url:
        with pytest.raises(InvalidApiKey):
            await WebSocketDriver(url, "wrong").open(1)
