"""Sends an answer while its generations run: whole, or as server-sent events; a client that leaves ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.exception_handlers import error_response, redis_error
from gateway.openai.answer_shape import AnswerShape, Json
from gateway.openai.running_generations import RunningGenerations
from shared.errors import Cancelled, InternalError, PlatformError, error_from_body
from shared.log import get_logger
from shared.redis_client import AWAY
from shared.schemas.generation import GenerationDelta, GenerationFailed, GenerationFinished, JournalFrame

_log = get_logger(__name__)

#: Comments only, never an ``id:`` line beside them: openai-python would read an empty event.
_KEEP_ALIVE = b": keep-alive\n\n"
_DONE = b"data: [DONE]\n\n"
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class AnswerResponse(Response):
    """The HTTP answer of generations that were admitted.

    A failure before the first byte is an HTTP error. A stream begins when the first generation has started, or after
    ``keep_alive_seconds``; a failure after that is an error object, followed by ``[DONE]`` as every stream's end.
    """

    def __init__(
        self,
        running: RunningGenerations,
        shape: AnswerShape,
        *,
        stream: bool,
        with_usage: bool,
        keep_alive_seconds: float,
    ) -> None:
        super().__init__()
        self._generations = running
        self._shape = shape
        self._stream = stream
        self._with_usage = with_usage
        self._keep_alive_seconds = keep_alive_seconds
        self._ends: dict[int, GenerationFinished] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves or is given up first."""
        async with self._generations:
            answering = asyncio.create_task(self._answer(scope, receive, send))
            leaving = asyncio.create_task(_until_disconnect(receive))
            giving_up = asyncio.create_task(self._generations.given_up.wait())
            tasks = (answering, leaving, giving_up)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if answering.done():
                    answering.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun: list[Json] = []
        try:
            await self._generations.follow()
            opening = self._shape.opening()
            if self._stream:
                begun = opening + self._read(await self._generations.next_frame(self._keep_alive_seconds))
            else:
                async for _ in self._chunks():
                    pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an error object
            await _refusal(error)(scope, receive, send)
            return
        if self._stream:
            await self._send_events(begun, send)
        else:
            await JSONResponse(self._shape.whole(self._ends))(scope, receive, send)

    async def _send_events(self, begun: list[Json], send: Send) -> None:
        headers = Response(media_type="text/event-stream", headers=_STREAM_HEADERS).raw_headers
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(name, value) for name, value in headers if name != b"content-length"],
            }
        )
        try:
            for chunk in begun:
                await _send_body(send, _event(chunk))
            async for chunks in self._chunks():
                await _send_body(send, b"".join(_event(chunk) for chunk in chunks) or _KEEP_ALIVE)
            if self._with_usage:
                await _send_body(send, _event(self._shape.usage(self._ends)))
        except OSError:
            # The client is gone.
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, a stream must not end as if it were whole
            await _send_body(send, _event({"error": _expected(error).body().model_dump()}))
        await send({"type": "http.response.body", "body": _DONE, "more_body": False})

    async def _chunks(self) -> AsyncIterator[list[Json]]:
        """Yield the chunks of each frame; an empty list after a time of silence.

        Raises:
            PlatformError: a generation failed or was cancelled from elsewhere.
        """
        while self._generations.any_open:
            arrived = await self._generations.next_frame(self._keep_alive_seconds)
            if arrived is None:
                yield []
            elif chunks := self._read(arrived):
                yield chunks

    def _read(self, arrived: tuple[int, JournalFrame] | None) -> list[Json]:
        match arrived:
            case (index, GenerationDelta() as delta):
                return self._shape.delta(index, delta)
            case (_, GenerationFinished(finish_reason="cancelled")):
                raise Cancelled("The generation was cancelled.")
            case (index, GenerationFinished() as end):
                self._ends[index] = end
                return self._shape.end(index, end)
            case (_, GenerationFailed(error=error)):
                raise error_from_body(error)
            case _:
                return []


def _event(data: Json) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _send_body(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _expected(error: Exception) -> PlatformError:
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, AWAY):
        return redis_error(error)
    _log.error("answer_failed", exc_info=error)
    return InternalError("Something went wrong here; the gateway's log has the cause.")


def _refusal(error: Exception) -> Response:
    """Return an error before the first byte; one that somebody wanted is not for the client to try again."""
    expected = _expected(error)
    response = error_response(expected)
    if isinstance(expected, Cancelled):
        response.headers["x-should-retry"] = "false"
    return response
