"""``/v1`` while its request waits: who leaves then must leave nothing behind."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from shared import keys
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
SLOW, VARIANT = "slow", "slow:int4"


@pytest.fixture
def pool(session_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path, session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url, model=SLOW, tokens_per_second=50)
    try:
        yield pool
    finally:
        pool.stop()


def body_of(**fields: object) -> dict[str, object]:
    return {"model": SLOW, "messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}


def ask_and_wait(gateway: Gateway, **fields: object) -> socket.socket:
    """Return the connection of a request that was sent, as a client that reads nothing yet."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    body = json.dumps(body_of(**fields)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {ADMIN_KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    connection.sendall("\r\n".join((*head, "", "")).encode() + body)
    return connection


def waiting(database: redis.Redis) -> list[str]:
    return [name.decode() for name in cast(list[bytes], database.zrange(keys.waiting(VARIANT), 0, -1))]


def wait_for_content(lines: Iterator[str]) -> None:
    for line in lines:
        if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            return
    pytest.fail("the stream ended without content")


@pytest.mark.parametrize("keep_alive_seconds", ["0.2", "15"], ids=["stream begun", "nothing answered yet"])
def test_who_leaves_the_queue_takes_no_slot(pool: Pool, keep_alive_seconds: str) -> None:
    """An abandoned request must not be computed when its turn comes, nor count against its user."""
    gateway = pool.gateway({"OVCHAT_STREAM_KEEP_ALIVE_SECONDS": keep_alive_seconds})
    pool.worker({"OVCHAT_MAX_SEQUENCES": "1"})
    with redis.Redis.from_url(pool.redis_url) as database, gateway.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=body_of()) as running:
            lines = running.iter_lines()
            wait_for_content(lines)
            with ask_and_wait(gateway, n=2) as leaving:
                wait_until(lambda: len(waiting(database)) == 2, what="both choices wait")
                abandoned = waiting(database)
                if keep_alive_seconds != "15":
                    assert leaving.recv(4096).startswith(b"HTTP/1.1 200 ")
            wait_until(lambda: not waiting(database), what="both choices have left the queue")
            assert database.zcard(keys.in_hand("admin")) == 1
            # The slot is still another's: it is the disconnect that has ended them.
            wait_for_content(lines)
        answer = client.post("/v1/chat/completions", json=body_of(stream=False, max_tokens=5))
        assert answer.status_code == 200, answer.text
        for generation_id in abandoned:
            # No `started`: no worker ever had it.
            ((_, entry),) = cast(list[tuple[bytes, dict[bytes, bytes]]], database.xrange(keys.journal(generation_id)))
            assert json.loads(entry[b"f"])["finish_reason"] == "cancelled"
