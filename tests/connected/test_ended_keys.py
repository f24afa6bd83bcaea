"""What is open when its key ends: a stream says so and ends, its generation is cancelled, on every gateway."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
import redis

from shared import keys
from tests.helpers.accounts import CSRF, make_key, sign_in
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
QUESTION = {"model": "slow", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 480}
#: As long as a key lives on at most, and a moment for a busy machine.
SOON_SECONDS = 3.0
Ending = Callable[[Gateway, dict[str, Any]], None]


@pytest.fixture(scope="module")
def other(pool: Pool) -> Gateway:
    """A second gateway, which learns of what the first one did; a variant that takes a minute to answer."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="slow", tokens_per_second=8)
    return pool.gateway()


@pytest.fixture
def database(pool: Pool) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(pool.redis_url) as client:
        yield client


def revoke(gateway: Gateway, created: dict[str, Any]) -> None:
    with gateway.client() as admin:
        assert admin.delete(f"/api/v1/keys/{created['key_id']}").status_code == 204


def erase(gateway: Gateway, created: dict[str, Any]) -> None:
    with gateway.client() as admin:
        assert admin.delete(f"/api/v1/users/{created['user']}").status_code == 204


def later(ending: Ending, gateway: Gateway, created: dict[str, Any]) -> threading.Thread:
    thread = threading.Thread(target=ending, args=(gateway, created))
    thread.start()
    return thread


@pytest.mark.parametrize("ending", [revoke, erase])
def test_a_stream_ends_with_its_key(gateway: Gateway, other: Gateway, database: redis.Redis, ending: Ending) -> None:
    """The accident: a key that was given away is revoked, and the answer that it asked for goes on for minutes."""
    created = make_key(gateway, f"{ending.__name__}-stream")
    question = {**QUESTION, "stream": True}
    with (
        other.client(key=created["key"]) as client,
        client.stream("POST", "/v1/chat/completions", json=question) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        assert "error" not in json.loads(next(lines).removeprefix("data: "))
        thread, began = later(ending, gateway, created), time.monotonic()
        told = list(lines)
        assert time.monotonic() - began < SOON_SECONDS
    error = json.loads(told[-2].removeprefix("data: "))["error"]
    assert (error["code"], error["type"], error["param"]) == ("invalid_api_key", "invalid_request_error", None)
    assert told[-1] == "data: [DONE]"
    thread.join()
    wait_until(lambda: not database.exists(keys.in_hand(created["user"])), what="the generation is cancelled")


def test_openai_s_client_raises(gateway: Gateway, other: Gateway) -> None:
    created = make_key(gateway, "client-stream")
    with openai.OpenAI(base_url=f"{other.url}/v1", api_key=created["key"], max_retries=0) as client:
        stream = client.chat.completions.create(
            model="slow", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        next(stream)
        thread = later(revoke, gateway, created)
        with pytest.raises(openai.APIError) as raised:
            list(stream)
        assert raised.value.code == "invalid_api_key"
        thread.join()


def test_a_whole_answer_is_refused_with_its_key(gateway: Gateway, other: Gateway, database: redis.Redis) -> None:
    created = make_key(gateway, "whole")
    with other.client(key=created["key"]) as client:

        def end() -> None:
            wait_until(lambda: database.exists(keys.in_hand("whole")), what="it runs")
            revoke(gateway, created)

        thread = threading.Thread(target=end)
        thread.start()
        answer = client.post("/v1/chat/completions", json=QUESTION)
        thread.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_client_that_does_not_read_holds_nothing_open(
    gateway: Gateway, other: Gateway, pool: Pool, database: redis.Redis
) -> None:
    """The accident: the gateway waits for a reader that never comes, and the generation goes on behind it."""
    publish_sample_variant(
        pool.store_path, pool.redis_url, model="fast", context_length=200_000, tokens_per_second=20_000
    )
    created = make_key(gateway, "deaf")
    body = json.dumps({**QUESTION, "model": "fast", "stream": True, "max_tokens": 199_000, "ignore_eos": True})
    with socket.create_connection(("127.0.0.1", other.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {created['key']}\r\n"
        connection.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = connection.recv(1000)
        assert b" 200 " in answer, answer
        assert database.exists(keys.in_hand("deaf")), "it is at work"
        revoke(gateway, created)
        wait_until(
            lambda: not database.exists(keys.in_hand("deaf")), seconds=SOON_SECONDS, what="the generation is cancelled"
        )


def test_a_conversion_s_events_end_with_the_key_and_the_session(gateway: Gateway, other: Gateway) -> None:
    """The accident: who is no admin any more goes on reading what the converter does."""
    created = make_key(gateway, "conv", role="admin")
    with gateway.client() as admin, other.client(key=created["key"]) as by_key, other.client(key=None) as by_cookie:
        job = admin.post("/api/v1/conversions", json={"source_model": "org/watched", "variants": ["int8"]}).json()
        path = f"/api/v1/conversions/{job['conversion_id']}/events"
        try:
            assert sign_in(by_cookie, created["key"]).status_code == 200
            with by_cookie.stream("GET", path) as response:
                chunks = response.iter_text()
                assert "event: conversion" in next(chunks)
                assert by_cookie.delete("/api/v1/session", headers=CSRF).status_code == 204
                began = time.monotonic()
                assert not any("event:" in chunk for chunk in chunks)
                assert time.monotonic() - began < SOON_SECONDS
            with by_key.stream("GET", path) as response:
                chunks = response.iter_text()
                assert "event: conversion" in next(chunks)
                revoke(gateway, created)
                began = time.monotonic()
                assert not any("event:" in chunk for chunk in chunks)
                assert time.monotonic() - began < SOON_SECONDS
            with pytest.raises(httpx.HTTPStatusError):
                by_key.get(path).raise_for_status()
        finally:
            admin.delete(f"/api/v1/conversions/{job['conversion_id']}")
