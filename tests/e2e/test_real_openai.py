"""The OpenAI API on the real demo model, asked by the real client and by curl."""

import json
import subprocess

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall, ChatCompletionToolParam

from tests.helpers.demo_store import MODEL
from tests.helpers.services import ADMIN_KEY, Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(demo_platform: Gateway) -> OpenAI:
    return OpenAI(base_url=f"{demo_platform.url}/v1", api_key=ADMIN_KEY, max_retries=0, timeout=180)


def test_an_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=f"{MODEL}:int8",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        max_tokens=32,
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same(client: OpenAI) -> None:
    question = "Name a colour."
    whole = client.chat.completions.create(
        model=f"{MODEL}:int8", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=24
    )
    stream = client.chat.completions.create(
        model=f"{MODEL}:int8",
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None


def test_a_schema_is_followed(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=f"{MODEL}:int8",
        messages=[{"role": "user", "content": "Tom is 12 years old. Give his name and age as JSON."}],
        temperature=0,
        max_tokens=120,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


@pytest.mark.parametrize("choice", ["required", "named"])
def test_a_tool_is_called(client: OpenAI, choice: str) -> None:
    answer = client.chat.completions.create(
        model=f"{MODEL}:int8",
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        temperature=0,
        max_tokens=120,
        tools=[WEATHER],
        tool_choice="required" if choice == "required" else {"type": "function", "function": {"name": "get_weather"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    (call,) = calls
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}


def test_curl(demo_platform: Gateway) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 32,
        "stream": True,
    }
    command = ["curl", "-sN", f"{demo_platform.url}/v1/chat/completions", "-H", f"Authorization: Bearer {ADMIN_KEY}"]
    answer = subprocess.run(
        [*command, "-H", "Content-Type: application/json", "-d", json.dumps(body)],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "Paris" in "".join(choice["delta"].get("content") or "" for c in chunks for choice in c["choices"])
