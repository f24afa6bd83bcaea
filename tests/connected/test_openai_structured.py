"""Answers held to a form through the OpenAI API: JSON schemas, forced tool calls, log probabilities."""

import json
from collections.abc import Iterator

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall, ChatCompletionToolParam
from pydantic import BaseModel, SecretStr

from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY, Gateway
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def tool(name: str, argument: str) -> ChatCompletionToolParam:
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]},
        },
    }


@pytest.fixture(scope="module", autouse=True)
def variant(pool: Pool) -> None:
    """A variant of a family that knows no tool calls."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="forms", context_length=2048, tokens_per_second=2000)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=20) as client:
        yield client


def test_an_answer_follows_its_schema(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="forms", messages=[{"role": "user", "content": "A city?"}], response_format=City
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    answer = client.chat.completions.create(
        model="forms", messages=[{"role": "user", "content": "JSON?"}], response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_a_schema_that_cannot_be_followed_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="forms",
            messages=[{"role": "user", "content": "A city?"}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}},
        )


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_a_call_can_be_forced(client: openai.OpenAI, named: bool, several: bool) -> None:
    tools = [tool("weather", "city"), tool("clock", "zone")][: 2 if several else 1]
    answer = client.chat.completions.create(
        model="forms",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=tools,
        tool_choice={"type": "function", "function": {"name": "weather"}} if named else "required",
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls or []
    assert len(calls) == 1
    call = calls[0]
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.id.startswith("call_")
    assert call.function.name == "weather"
    assert list(json.loads(call.function.arguments)) == ["city"]


def test_a_forced_call_is_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="forms",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[tool("weather", "city"), tool("clock", "zone")],
        tool_choice="required",
        stream=True,
    )
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert calls[0].function is not None
    assert (calls[0].index, calls[0].function.name, calls[0].function.arguments) == (0, "weather", "")
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert list(json.loads(arguments)) == ["city"]


#: With it the sample engine's last token ends a character: a token whose text is never shown is not told of.
SEED = 1


def test_log_probabilities_are_told_with_the_text(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="forms", messages=[{"role": "user", "content": "Hello"}], max_tokens=5, logprobs=True, seed=SEED
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert len(told.content or ()) == 5
    assert all(token.logprob <= 0 for token in told.content or ())
    completion = client.completions.create(model="forms", prompt="x", max_tokens=4, logprobs=0, seed=SEED)
    assert completion.choices[0].logprobs is not None
    assert len(completion.choices[0].logprobs.tokens or ()) == 4
    without = client.chat.completions.create(
        model="forms", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
    )
    assert without.choices[0].logprobs is None


def test_langchain_gets_structured_output(gateway: Gateway) -> None:
    fields = {"model": "forms", "base_url": f"{gateway.url}/v1", "api_key": SecretStr(ADMIN_KEY), "max_retries": 0}
    model = ChatOpenAI.model_validate(fields)
    for method in ("json_schema", "function_calling"):
        assert isinstance(model.with_structured_output(City, method=method).invoke("A city?"), City)
