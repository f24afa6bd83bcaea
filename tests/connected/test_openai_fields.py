"""Every named field of ``/v1``: what the generation is asked for because of it, or that it is refused by name."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import redis

from shared import keys
from shared.schemas.generation import GenerationRequest
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway
from tests.helpers.variants import CONTEXT_LENGTH, publish_sample_variant

pytestmark = pytest.mark.connected
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture(scope="module", autouse=True)
def variants(pool: Pool) -> None:
    publish_sample_variant(
        pool.store_path, pool.redis_url, model="says", replay_text="one two END three", tokens_per_second=2000
    )
    publish_sample_variant(
        pool.store_path, pool.redis_url, model="qwen", model_type="qwen2", replay_text="one two END three"
    )


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def asked(client: httpx.Client, pool: Pool, path: str, fields: dict[str, object]) -> GenerationRequest:
    """Return what the worker was asked for."""
    base: dict[str, object] = {"model": "says"}
    base |= {"messages": HELLO} if path.startswith("chat") else {"prompt": "Hello"}
    response = client.post(f"/v1/{path}", json={**base, **fields})
    assert response.status_code == 200, response.text
    generation_id = "gen_" + response.json()["id"].rpartition("-")[2]
    with redis.Redis.from_url(pool.redis_url) as database:
        raw = database.get(keys.generation_request(generation_id))
    assert isinstance(raw, bytes)
    return GenerationRequest.model_validate_json(raw)


@pytest.mark.parametrize(
    ("field", "value", "effect"),
    [
        ("max_tokens", 3, {"max_new_tokens": 3}),
        ("max_completion_tokens", 3, {"max_new_tokens": 3}),
        ("max_tokens", None, {"max_new_tokens": CONTEXT_LENGTH}),
        ("max_tokens", 10**9, {"max_new_tokens": CONTEXT_LENGTH}),
        ("temperature", None, {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}),
        ("temperature", 0.5, {"temperature": 0.5}),
        ("temperature", 0, {"temperature": 0}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("stop", "END", {"stop": ("END",)}),
        ("stop", ["END", "a", "b", "c"], {"stop": ("END", "a", "b", "c")}),
        ("stop", None, {"stop": ()}),
        ("seed", 42, {"seed": 42}),
        ("seed", -1, {"seed": 2**32 - 1}),
        ("presence_penalty", 0.5, {"presence_penalty": 0.5}),
        ("frequency_penalty", -0.5, {"frequency_penalty": -0.5}),
        ("top_k", 7, {"top_k": 7}),
        ("top_k", -1, {"top_k": 0}),
        ("min_p", 0.1, {"min_p": 0.1}),
        ("repetition_penalty", 1.2, {"repetition_penalty": 1.2}),
        ("min_tokens", 2, {"min_new_tokens": 2}),
        ("ignore_eos", True, {"ignore_eos": True, "max_new_tokens": CONTEXT_LENGTH}),
        ("stop_token_ids", [5], {"stop_token_ids": (5,)}),
        ("include_stop_str_in_output", True, {"include_stop_text": True}),
        ("skip_special_tokens", False, {"skip_special_tokens": False}),
        ("chat_template_kwargs", {"a": 1}, {"chat_template_kwargs": {"a": 1}}),
        ("tool_choice", "none", {"tools": (), "tool_format": None}),
        # What changes nothing is let through.
        ("logit_bias", {}, {}),
        ("modalities", ["text"], {}),
        ("parallel_tool_calls", True, {}),
        ("add_generation_prompt", True, {}),
        ("metadata", {"a": "b"}, {}),
        ("no_such_field", 1, {}),
        ("response_format", {"type": "text"}, {"json_schema": None}),
    ],
)
def test_a_field_reaches_the_engine(
    client: httpx.Client, pool: Pool, field: str, value: object, effect: dict[str, object]
) -> None:
    request = asked(client, pool, "chat/completions", {field: value})
    told = {**request.params.model_dump(), **request.options.model_dump()}
    assert {name: told[name] for name in effect} == effect
    assert request.options.keep_all_turns


def test_the_fields_of_completions_reach_the_engine(client: httpx.Client, pool: Pool) -> None:
    request = asked(client, pool, "completions", {"top_k": 3, "n": 2, "best_of": 2, "suffix": None})
    assert (request.options.prompt, request.messages) == ("Hello", ())
    assert request.params.max_new_tokens == 16
    assert request.params.top_k == 3


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("max_tokens", 0, "max_tokens"),
        ("max_completion_tokens", "many", "max_completion_tokens"),
        ("temperature", 2.5, "temperature"),
        ("top_p", 1.5, "top_p"),
        ("n", 0, "n"),
        ("n", 1000, "n"),
        ("stop", ["a", "b", "c", "d", "e"], "stop"),
        ("stop", "", "stop"),
        ("presence_penalty", 3, "presence_penalty"),
        ("logit_bias", {"1": 1}, "logit_bias"),
        ("top_logprobs", 2, "top_logprobs"),
        ("top_logprobs", 21, "top_logprobs"),
        ("stream_options", {"include_usage": True}, "stream_options"),
        ("response_format", {"type": "yaml"}, "response_format"),
        ("response_format", {"type": "json_schema"}, "response_format"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}, "response_format"),
        ("tools", [TOOL], "tools"),
        ("tools", [{"type": "web_search"}], "tools"),
        ("tool_choice", "required", "tool_choice"),
        ("functions", [{"name": "f"}], "functions"),
        ("function_call", "auto", "function_call"),
        ("audio", {"voice": "x"}, "audio"),
        ("modalities", ["text", "audio"], "modalities"),
        ("prediction", {"type": "content", "content": "x"}, "prediction"),
        ("web_search_options", {}, "web_search_options"),
        ("store", True, "store"),
        ("reasoning_effort", "high", "reasoning_effort"),
        ("service_tier", "priority", "service_tier"),
        ("cache_salt", "x", "cache_salt"),
        ("priority", 5, "priority"),
        ("add_generation_prompt", False, "add_generation_prompt"),
        ("user", "x" * 300, "user"),
        ("messages", [], "messages"),
        ("messages", [{"role": "robot", "content": "x"}], "messages"),
        ("messages", [{"role": "user"}], "messages"),
        ("messages", [{"role": "tool", "content": "x"}], "messages"),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    client: httpx.Client, field: str, value: object, param: str
) -> None:
    response = client.post("/v1/chat/completions", json={"model": "says", "messages": HELLO, field: value})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"].startswith(param), error
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    response = client.post("/v1/chat/completions", json={"model": "qwen", "messages": HELLO, **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": ""},
        {"prompt": "x", "best_of": 3},
        {"prompt": "x", "suffix": "y"},
        {"prompt": "x", "echo": True, "logprobs": 1},
        {"prompt": "x", "logprobs": 9},
    ],
)
def test_completions_refuse_what_they_cannot(client: httpx.Client, fields: dict[str, Any]) -> None:
    response = client.post("/v1/completions", json={"model": "says", **fields})
    assert response.status_code == 400, response.text


def test_the_stop_string_ends_the_answer(client: httpx.Client) -> None:
    body = {"model": "says", "messages": HELLO, "stop": "END"}
    choice = client.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two ", "stop")
    choice = client.post("/v1/chat/completions", json={**body, "include_stop_str_in_output": True}).json()["choices"][0]
    assert choice["message"]["content"] == "one two END"
    choice = client.post("/v1/chat/completions", json={**body, "max_tokens": 2}).json()["choices"][0]
    assert choice["finish_reason"] == "length"


def test_an_unknown_field_is_told_once(client: httpx.Client, gateway: Gateway) -> None:
    for _ in range(2):
        client.post("/v1/chat/completions", json={"model": "says", "messages": HELLO, "very_odd_field": 1})
    lines = [orjson.loads(line) for line in gateway.output.splitlines() if "very_odd_field" in line]
    assert [line["event"] for line in lines] == ["unknown_field_ignored"]
