"""Lost workers, a gateway that ends and a Redis that forgets: never a half answer that looks whole."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import openai
import pytest
import redis

from gateway.openai.running_generations import LOSS_CHECK_SECONDS
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
TEXT = " ".join(f"part-{number}" for number in range(30))


@pytest.fixture
def pool(session_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path, session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url, model="recites", replay_text=TEXT, tokens_per_second=40)
    try:
        yield pool
    finally:
        pool.stop()


def recite(gateway: Gateway, each: Callable[[str], None], *, model: str = "recites") -> str:
    """Return what was recited; ``each`` hears all of it so far after every chunk."""
    text = ""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=40) as client:
        for chunk in client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Recite."}], stream=True
        ):
            text += chunk.choices[0].delta.content or ""
            each(text)
    return text


def once(text: str, action: Callable[[], object]) -> Callable[[str], None]:
    """Return what acts the first time that a text is heard."""
    left = [action]

    def heard(so_far: str) -> None:
        if text in so_far and left:
            left.pop()()

    return heard


def test_another_worker_goes_on_with_a_stream(pool: Pool) -> None:
    """A killed worker must neither end the answer early nor repeat or lose a part of it."""
    gateway = pool.gateway()
    first = pool.worker()

    def replace_worker() -> None:
        first.kill()
        pool.worker()

    assert recite(gateway, once("part-3", replace_worker)) == TEXT


def test_a_gateway_that_ends_breaks_its_streams_off(pool: Pool) -> None:
    """An answer that a stopping gateway cannot finish in its grace must raise, not end."""
    gateway = pool.gateway({"OVCHAT_SHUTDOWN_GRACE_SECONDS": "1"})
    pool.worker()
    ending = once("part-1", lambda: gateway.signal(signal.SIGTERM))
    with pytest.raises(openai.APIError) as broken:
        recite(gateway, ending)
    assert broken.value.code == "draining"


def test_a_stream_that_waits_is_kept_alive_by_comments(pool: Pool) -> None:
    """A proxy closes what is silent; and the client must not take a comment for an event."""
    publish_sample_variant(
        pool.store_path, pool.redis_url, model="lazy", replay_text=TEXT, start_seconds=1.5, tokens_per_second=1000
    )
    gateway = pool.gateway({"OVCHAT_STREAM_KEEP_ALIVE_SECONDS": "0.2"})
    pool.worker()
    body = {"model": "lazy", "messages": [{"role": "user", "content": "Recite."}], "stream": True}
    with gateway.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = list(response.iter_lines())
    assert lines.count(": keep-alive") >= 2
    assert not [line for line in lines if line.startswith("id:")]
    assert lines[-2:] == ["data: [DONE]", ""]
    publish_sample_variant(
        pool.store_path, pool.redis_url, model="recites", variant="int8", replay_text=TEXT, start_seconds=1.5
    )
    assert recite(gateway, lambda _: None, model="recites:int8") == TEXT


@pytest.mark.parametrize("loss", ["flushed", "started anew"])
def test_a_stream_whose_redis_forgot_it_is_broken_off(
    pool: Pool, tmp_path: Path, loss: Literal["flushed", "started anew"]
) -> None:
    """Nobody is left to end such an answer: it must neither hang nor look finished, and the pool must serve again."""
    transport = RedisServer(tmp_path / "transport").start()
    settings = {"OVCHAT_TRANSPORT_REDIS_URL": transport.url}
    lost_at: list[float] = []

    def lose() -> None:
        lost_at.append(time.monotonic())
        if loss == "flushed":
            with redis.Redis.from_url(transport.url) as client:
                client.flushdb()
        else:
            transport.kill()
            transport.start()

    try:
        gateway = pool.gateway(settings)
        pool.worker(settings)
        text, end = raw_stream(gateway, once("part-3", lose))
        # Two checks see the same silence; the rest is a busy machine's.
        assert time.monotonic() - lost_at[0] < 2 * LOSS_CHECK_SECONDS + 5
        assert TEXT.startswith(text)
        assert len(text) < len(TEXT)
        (error,) = end
        assert set(error) == {"error"}
        assert error["error"]["code"] == "worker_lost"
        with gateway.client() as client:
            body = {"model": "recites", "messages": [{"role": "user", "content": "Recite."}], "max_tokens": 5}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
    finally:
        pool.stop()
        transport.stop()


def raw_stream(gateway: Gateway, each: Callable[[str], None]) -> tuple[str, list[dict[str, dict[str, str]]]]:
    """Return what was recited, and the events that are no chunks; asserts that the stream ends by ``[DONE]``."""
    text, others = "", []
    body = {"model": "recites", "messages": [{"role": "user", "content": "Recite."}], "stream": True}
    with gateway.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = []
        for line in response.iter_lines():
            lines.append(line)
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "choices" not in event:
                others.append(event)
                continue
            (choice,) = event["choices"]
            assert choice["finish_reason"] is None, "it looks finished"
            text += choice["delta"].get("content", "")
            each(text)
    assert lines[-2:] == ["data: [DONE]", ""]
    return text, others
