"""``/v1`` as bytes on the wire: chunks, ends, errors, and who cancels."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from shared import keys
from shared.schemas.generation import GenerationRequest
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
HELLO = [{"role": "user", "content": "Hello"}]
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def variants(pool: Pool) -> None:
    """Variants that say one thing, are slow, or run out of memory."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="says", replay_text="one two END three")
    publish_sample_variant(pool.store_path, pool.redis_url, model="slow", tokens_per_second=20)
    publish_sample_variant(pool.store_path, pool.redis_url, model="forgets", kv_cache_tokens=40)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def ask(client: httpx.Client, path: str = "chat/completions", **fields: object) -> Json:
    body = {"model": "says", **({"messages": HELLO} if path.startswith("chat") else {}), **fields}
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def events(client: httpx.Client, path: str = "chat/completions", **fields: object) -> list[str]:
    body = {"model": "says", "stream": True, **({"messages": HELLO} if path.startswith("chat") else {}), **fields}
    with client.stream("POST", f"/v1/{path}", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"].startswith("req_")
        text = response.read().decode()
    assert text.endswith("\n\n")
    blocks = text.removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [block.removeprefix("data: ") for block in blocks[:-1]]


def chunks(client: httpx.Client, path: str = "chat/completions", **fields: object) -> list[Json]:
    return [json.loads(event) for event in events(client, path, **fields)]


def test_a_stream_is_made_of_exact_chunks(client: httpx.Client) -> None:
    told = chunks(client)
    first = told[0]
    assert list(first) == ["id", "object", "created", "model", "choices"]
    assert first["id"].startswith("chatcmpl-")
    assert first["object"] == "chat.completion.chunk"
    head = {name: first[name] for name in ("id", "object", "created", "model")}
    assert all({name: chunk[name] for name in head} == head for chunk in told)
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    for chunk in told[1:-1]:
        (choice,) = chunk["choices"]
        assert list(choice) == ["index", "delta", "logprobs", "finish_reason"]
        assert list(choice["delta"]) == ["content"]
        assert choice["finish_reason"] is None
    assert told[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in told) == "one two END three"


def test_usage_comes_in_a_last_chunk_only_when_asked_for(client: httpx.Client) -> None:
    assert all("usage" not in chunk for chunk in chunks(client, stream_options={"include_usage": False}))
    told = chunks(client, stream_options={"include_usage": True}, n=2)
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in told[:-1])
    assert told[-1]["choices"] == []
    usage = told[-1]["usage"]
    assert set(usage) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert usage == ask(client, n=2)["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    # A prompt counts once, the answers each.
    one = ask(client)["usage"]
    assert usage["prompt_tokens"] == one["prompt_tokens"]
    assert usage["completion_tokens"] == 2 * one["completion_tokens"]


def test_a_whole_answer_has_every_field(client: httpx.Client) -> None:
    answer = ask(client, model="says:int4")
    assert list(answer) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "says:int4"
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two END three", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_completions_continue_each_prompt(client: httpx.Client) -> None:
    answer = ask(client, "completions", prompt=["a", "b"], n=2, echo=True)
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in answer["choices"]] == [f"{p}one two END three" for p in "aabb"]
    assert answer["usage"]["prompt_tokens"] == 2
    told = chunks(client, "completions", prompt="a", stream_options={"include_usage": True})
    assert all(chunk["object"] == "text_completion" for chunk in told)
    assert "".join(chunk["choices"][0]["text"] for chunk in told[:-1]) == "one two END three"
    assert told[-2]["choices"][0] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    assert told[-1]["usage"]["prompt_tokens"] == 1


def test_a_broken_stream_ends_with_an_error_object(client: httpx.Client) -> None:
    *told, last = chunks(client, model="forgets", max_tokens=400)
    assert told
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in told)
    assert set(last) == {"error"}
    assert last["error"]["code"] == "kv_cache_exhausted"
    assert isinstance(last["error"]["message"], str)


def test_what_fails_before_the_first_byte_is_an_http_error(client: httpx.Client) -> None:
    body = {"model": "says", "messages": [{"role": "user", "content": "x" * 3000}]}
    for stream in (False, True):
        response = client.post("/v1/chat/completions", json={**body, "stream": stream})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
    response = client.post("/v1/chat/completions", json={"model": "forgets", "messages": HELLO, "max_tokens": 400})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "kv_cache_exhausted"
    assert int(response.headers["retry-after"]) > 0


def test_every_refusal_has_the_envelope_and_a_request_id(client: httpx.Client, gateway: Gateway) -> None:
    with gateway.client(key="wrong") as stranger:
        refusals = [
            (client.get("/v1/nothing"), 404, "not_found", None),
            (client.get("/v1/chat/completions"), 405, "method_not_allowed", None),
            (client.get("/v1/models/no:such/model"), 404, "model_not_found", "model"),
            (client.get("/v1/models/says:fp16"), 404, "variant_not_published", "model"),
            (client.post("/v1/chat/completions", content=b"{"), 400, "invalid_request", None),
            (client.post("/v1/chat/completions", json=[]), 400, "invalid_request", None),
            (client.post("/v1/chat/completions", json={"model": "says"}), 400, "invalid_request", "messages"),
            (
                client.post("/v1/chat/completions", json={"model": "gpt-4", "messages": HELLO}),
                404,
                "model_not_found",
                "model",
            ),
            (stranger.get("/v1/models"), 401, "invalid_api_key", None),
        ]
    for response, status, code, param in refusals:
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code
        assert param is None or error["param"] == param
        assert response.headers["x-request-id"]
    named = client.get("/v1/nothing", headers={"X-Request-Id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"


def test_models_are_found_by_each_of_their_names(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert {"says", "says:int4"} <= set(names)
    for name in ("says", "says:int4", "tests/says", "tests/says:int4"):
        found = client.get(f"/v1/models/{name}").json()
        assert found["id"] == name
        assert (found["object"], found["owned_by"]) == ("model", "ovchat")
        assert isinstance(found["created"], int)
        assert ask(client, model=name)["model"] == name


def running_generation(pool: Pool, end_user: str) -> str:
    """Return the id of the one generation whose log line names an end user."""
    lines = [json.loads(line) for line in pool.gateways[0].output.splitlines() if f'"{end_user}"' in line]
    admitted = [line for line in lines if line["event"] == "completion_admitted" and line["end_user"] == end_user]
    return str(admitted[0]["generation_ids"][0]) if admitted else ""


def end_of(pool: Pool, generation_id: str) -> Json | None:
    """Return the frame that ended a generation, once it has ended."""
    with redis.Redis.from_url(pool.redis_url) as database:
        entries = database.xrevrange(keys.journal(generation_id), count=1)
    assert isinstance(entries, list)
    frame: Json | None = json.loads(entries[0][1][b"f"] or b"null") if entries else None
    return frame if frame is not None and frame["type"] == "generation.finished" else None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels(gateway: Gateway, pool: Pool, stream: bool) -> None:
    """A generation that nobody reads must not keep a slot until its end."""
    name = f"leaves-{stream}"
    body = {"model": "slow", "messages": HELLO, "max_tokens": 400, "stream": stream, "user": name}
    async with httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": "Bearer test-admin-key"}) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await asyncio.to_thread(wait_until, lambda: running_generation(pool, name))
        generation_id = running_generation(pool, name)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.to_thread(wait_until, lambda: end_of(pool, generation_id))
    end = end_of(pool, generation_id)
    assert end is not None
    assert end["finish_reason"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_cancelled_elsewhere_is_an_error(gateway: Gateway, pool: Pool, stream: bool) -> None:
    """A cancelled answer must not look like a finished one, and must not be tried again by the client."""
    name = f"cancelled-{stream}"
    body = {"model": "slow", "messages": HELLO, "max_tokens": 400, "stream": stream, "user": name}
    async with (
        httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": "Bearer test-admin-key"}) as client,
        Socket(gateway.socket_url) as socket,
    ):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body, timeout=30))
        await asyncio.to_thread(wait_until, lambda: running_generation(pool, name))
        await asyncio.to_thread(wait_until, lambda: journal_length(pool, running_generation(pool, name)) > 2)
        await socket.send({"type": "generation.cancel", "generation_id": running_generation(pool, name)})
        response = await asking
    if stream:
        *_, error, done = response.text.removesuffix("\n\n").split("\n\n")
        assert done == "data: [DONE]"
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "cancelled"
    else:
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "cancelled"
        assert response.headers["x-should-retry"] == "false"


def journal_length(pool: Pool, generation_id: str) -> int:
    with redis.Redis.from_url(pool.redis_url) as database:
        length = database.xlen(keys.journal(generation_id))
    assert isinstance(length, int)
    return length


def test_nothing_is_stored_for_a_chatless_generation(client: httpx.Client, pool: Pool) -> None:
    answer = ask(client)
    with redis.Redis.from_url(pool.redis_url) as database:
        raw = database.get(keys.generation_request("gen_" + answer["id"].removeprefix("chatcmpl-")))
        assert isinstance(raw, bytes)
        assert GenerationRequest.model_validate_json(raw).chat_id == ""
        assert not list(database.scan_iter("ovchat:*:messages"))
