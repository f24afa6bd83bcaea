"""Ask over OpenAI's interface, as a stream of server-sent events."""

from __future__ import annotations

import time

import httpx
import orjson
from pydantic import ValidationError

from gateway.client.address import GatewayAddress
from gateway.client.bench.driver import Driver, Wish
from gateway.client.bench.prompts import Question
from gateway.client.bench.sample import CONNECTION_LOST, Failure, Sample, status_of
from gateway.client.server_sent_events import events_of
from shared.errors import ErrorBody, InternalError, Unavailable, error_types
from shared.schemas.common import Message

_TIMEOUT_SECONDS = 600.0
_DONE = "[DONE]"


class _Delta(Message):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Message):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(Message):
    prompt_tokens: int
    completion_tokens: int


class _Chunk(Message):
    """What a load looks at in a chunk."""

    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: ErrorBody | None = None


class OpenAIDriver(Driver):
    """Streams chat completions. The gateway stores no chats for them, and tells no times of its own."""

    def __init__(self, url: str, key: str) -> None:
        self.chat_ids: list[str] = []
        self._address = address = GatewayAddress(url)
        self._http = httpx.AsyncClient(
            base_url=address.url,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=not address.is_loopback,
        )

    async def open(self, places: int) -> None:
        """See that the gateway is there and takes the key; connections are opened and kept as they are needed."""
        try:
            response = await self._http.get("/v1/models")
        except httpx.TransportError as error:
            raise Unavailable(self._address.unreachable) from error
        if response.is_error:
            failure = _refusal(response)
            raise error_types().get(failure.code, InternalError)(failure.message)

    async def ask(self, place: int, question: Question, wish: Wish, sample: Sample) -> None:
        sample.sent_at = time.perf_counter()
        try:
            async with self._http.stream("POST", "/v1/chat/completions", content=_body(question, wish)) as response:
                if response.is_error:
                    await response.aread()
                    sample.fail(_refusal(response), time.perf_counter())
                else:
                    await _read(response, sample)
        except (httpx.TransportError, ValidationError) as error:
            sample.fail(Failure(CONNECTION_LOST, str(error) or type(error).__name__, False), time.perf_counter())

    async def close(self) -> None:
        await self._http.aclose()


def _body(question: Question, wish: Wish) -> bytes:
    messages = [{"role": "user", "content": question.content}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    return orjson.dumps(
        {
            "model": wish.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": wish.max_new_tokens,
        }
    )


async def _read(response: httpx.Response, sample: Sample) -> None:
    async for event in events_of(response.aiter_lines()):
        at = time.perf_counter()
        if event.data == _DONE:
            if sample.ended_at is None:
                sample.ended_at = at
            return
        chunk = _Chunk.model_validate_json(event.data)
        if chunk.error is not None:
            code = chunk.error.code
            sample.fail(Failure(code, chunk.error.message, False, status_of(code)), at)
        if any(choice.delta.content or choice.delta.reasoning_content for choice in chunk.choices):
            sample.deltas_at.append(at)
        if chunk.usage is not None:
            sample.prompt_tokens, sample.completion_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    sample.fail(Failure(CONNECTION_LOST, "the stream ended without [DONE]", False), time.perf_counter())


def _refusal(response: httpx.Response) -> Failure:
    try:
        error = ErrorBody.model_validate(response.json()["error"])
        code, message = error.code, error.message
    except (ValueError, KeyError, TypeError):
        code, message = f"http_{response.status_code}", f"the gateway answered {response.status_code}"
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdecimal() else None
    return Failure(code, message, True, response.status_code, seconds)
