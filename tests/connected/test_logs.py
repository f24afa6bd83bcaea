"""One generation's way through the logs of all services, and what stands in none of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.accounts import make_key
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, Service, wait_until
from tests.helpers.sockets import Socket, answer_text

pytestmark = pytest.mark.connected
SECRET = "Xylophone under the seventh stair"


def events(service: Service, generation_id: str) -> list[str]:
    """Return the events of a service's log that carry a generation's id, in order."""
    lines = [json.loads(line) for line in service.output.splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line.get("generation_id") == generation_id]


def hidden(*texts: str) -> list[str]:
    return [part for text in texts for part in (text, json.dumps(text)[1:-1]) if len(part) > 8]


async def test_a_generation_is_followed_by_its_id_and_nobody_reads_what_was_said(gateway: Gateway, pool: Pool) -> None:
    """The accident: a user reports an answer that went wrong, and nothing ties the gateway's lines to the worker's."""
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", SECRET, system="Speak of " + SECRET, params={"max_new_tokens": 40})
        frames = await socket.receive_until("generation.finished")
        generation_id = frames[0]["generation_id"]
    wait_until(lambda: "generation_ended" in events(gateway, generation_id), what="the answer stored")
    assert events(gateway, generation_id)[0] == "generation_queued"
    assert events(gateway, generation_id)[-1] == "generation_ended"
    worker = pool.workers[0]
    assert events(worker, generation_id) == ["generation_begun", "generation_computed"]
    answer = answer_text(frames)
    assert len(answer) > 8
    for log in (gateway.output, worker.output):
        assert [text for text in hidden(SECRET, answer) if text in log] == []


def test_an_openai_request_is_tied_to_its_generation(gateway: Gateway, pool: Pool) -> None:
    body = {"model": "sample", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 4}
    with gateway.client() as client:
        response = client.post("/v1/chat/completions", json=body, headers={"X-Request-Id": "tied-1"})
    assert response.status_code == 200, response.text
    generation_id = response.json()["id"].replace("chatcmpl-", "gen_")
    lines: list[dict[str, Any]] = [json.loads(line) for line in gateway.output.splitlines() if "tied-1" in line]
    assert {line["generation_id"] for line in lines if line["event"] == "generation_queued"} == {generation_id}
    assert "generation_computed" in events(pool.workers[0], generation_id)
    assert all(SECRET not in Path(service.log).read_text("utf-8") for service in (gateway, *pool.workers))


def test_a_refusal_is_logged_with_its_code(gateway: Gateway) -> None:
    key = make_key(gateway, "logged", limits={"requests_per_minute": 1})["key"]
    body = {"model": "sample", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    with gateway.client(key=key) as client:
        assert [client.post("/v1/chat/completions", json=body).status_code for _ in range(2)] == [200, 429]
    refused = [json.loads(line) for line in gateway.output.splitlines() if "generation_refused" in line]
    assert [line["code"] for line in refused] == ["rate_limit_exceeded"]
