"""The clients that people use: the `openai` package, sync and async, and LangChain's ChatOpenAI."""

import json
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionToolParam
from pydantic import SecretStr

from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY, Gateway
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
TEXT = "one two END three"
CALLS = (
    "I look.\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "clock", "arguments": {"zone": "CET"}}\n</tool_call>'
)
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK: ChatCompletionToolParam = {"type": "function", "function": {"name": "clock"}}


@pytest.fixture(scope="module", autouse=True)
def variants(pool: Pool) -> None:
    """Variants that say one thing; the family of `calls` writes tool calls in Hermes' way, that of `thinks` reasons."""
    for model, model_type, says in (
        ("says", "llama", TEXT),
        ("calls", "qwen2", CALLS),
        ("thinks", "qwen3", "<think>\nHm.\n</think>\n\nYes."),
    ):
        publish_sample_variant(
            pool.store_path,
            pool.redis_url,
            model=model,
            model_type=model_type,
            context_length=2048,
            replay_text=says,
            tokens_per_second=2000,
        )
    publish_sample_variant(pool.store_path, pool.redis_url, model="forgets", kv_cache_tokens=40)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
async def async_client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=20) as client:
        yield client


def chat_model(gateway: Gateway, model: str) -> ChatOpenAI:
    return ChatOpenAI.model_validate(
        {
            "model": model,
            "base_url": f"{gateway.url}/v1",
            "api_key": SecretStr(ADMIN_KEY),
            "max_retries": 0,
            "timeout": 20,
            "temperature": 0,
        }
    )


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="says", messages=[{"role": "user", "content": "Hello"}])
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 4


def test_several_choices_have_seeds_of_their_own(client: openai.OpenAI) -> None:
    def contents(seed: int, n: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="sample", messages=[{"role": "user", "content": "Hello"}], seed=seed, n=n, max_tokens=8
        )
        assert [choice.index for choice in answer.choices] == list(range(n))
        return [choice.message.content for choice in answer.choices]

    three = contents(7, 3)
    assert len(set(three)) == 3
    assert [*contents(7, 1), *contents(8, 1), *contents(9, 1)] == three


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="says",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}],
        stream=True,
        stream_options={"include_usage": True},
        n=2,
    )
    texts = ["", ""]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [TEXT, TEXT]
    assert chunk.usage is not None


async def test_an_async_stream_and_completion(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model="says", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT
    completion = await async_client.completions.create(model="says", prompt="x")
    assert completion.choices[0].text == TEXT
    assert [model.id async for model in await async_client.models.list()][:1]
    assert (await async_client.models.retrieve("tests/says:int4")).id == "tests/says:int4"


def test_errors_are_raised_as_what_they_are(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="says", messages=[{"role": "user", "content": "Hello"}], logit_bias={"1": 5}
        )
    assert refused.value.param == "logit_bias"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.InternalServerError) as full:
        client.chat.completions.create(model="forgets", messages=[{"role": "user", "content": "Hello"}])
    assert full.value.status_code == 503


def test_a_broken_stream_raises(client: openai.OpenAI) -> None:
    """A stream that merely ended would look like a finished answer."""
    stream = client.chat.completions.create(
        model="forgets", messages=[{"role": "user", "content": "Hello"}], stream=True, max_tokens=400
    )
    with pytest.raises(openai.APIError, match=r"memory|KV|cache") as broken:
        for _ in stream:
            pass
    assert broken.value.code == "kv_cache_exhausted"


def test_tool_calls_are_parsed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="calls", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER, CLOCK]
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "").strip() == "I look."
    calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Paris"}, {"zone": "CET"}]
    assert len({call.id for call in calls}) == 2
    single = client.chat.completions.create(
        model="calls",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    )
    assert len(single.choices[0].message.tool_calls or ()) == 1
    # An answer to the calls goes back with them.
    again = client.chat.completions.create(
        model="says",
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        ],
    )
    assert again.choices[0].message.content == TEXT


def test_tool_calls_are_streamed_as_deltas(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="calls", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER, CLOCK], stream=True
    )
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    reasons = []
    for chunk in stream:
        reasons.append(chunk.choices[0].finish_reason)
        for call in chunk.choices[0].delta.tool_calls or ():
            assert call.function is not None
            if call.index not in names:
                assert call.id
                assert call.type == "function"
                assert call.function.name
                names[call.index] = call.function.name
            else:
                assert call.id is None
                assert call.function.name is None
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert names == {0: "weather", 1: "clock"}
    assert {at: json.loads(text) for at, text in arguments.items()} == {0: {"city": "Paris"}, 1: {"zone": "CET"}}
    assert [reason for reason in reasons if reason] == ["tool_calls"]


def test_reasoning_is_split_out(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="thinks", messages=[{"role": "user", "content": "Sure?"}])
    message = answer.choices[0].message.model_dump()
    assert message["content"].strip() == "Yes."
    assert message["reasoning_content"].strip() == "Hm."
    stream = client.chat.completions.create(
        model="thinks", messages=[{"role": "user", "content": "Sure?"}], stream=True
    )
    deltas = [chunk.choices[0].delta.model_dump() for chunk in stream]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas).strip() == "Hm."


def test_langchain_chats(gateway: Gateway) -> None:
    model = chat_model(gateway, "says")
    answer = model.invoke([("system", "Be brief."), ("human", "Hello")])
    assert answer.content == TEXT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 4
    assert "".join(str(chunk.content) for chunk in model.stream("Hello")) == TEXT


async def test_langchain_chats_async(gateway: Gateway) -> None:
    model = chat_model(gateway, "says")
    assert (await model.ainvoke("Hello")).content == TEXT
    assert "".join([str(chunk.content) async for chunk in model.astream("Hello")]) == TEXT


def test_langchain_calls_tools(gateway: Gateway) -> None:
    model = chat_model(gateway, "calls").bind_tools([dict(WEATHER), dict(CLOCK)])
    answer = model.invoke("Weather?")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("weather", {"city": "Paris"}),
        ("clock", {"zone": "CET"}),
    ]
