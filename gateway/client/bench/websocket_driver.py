"""Ask over the chat sockets; one socket carries any number of questions at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.client.address import GatewayAddress
from gateway.client.bench.driver import Driver, Wish
from gateway.client.bench.prompts import Question
from gateway.client.bench.sample import CONNECTION_LOST, SEQUENCE_BROKEN, Failure, Sample, status_of
from gateway.client.handshake import open_socket
from shared.errors import ErrorBody, PlatformError
from shared.schemas.common import StrictMessage
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationParams,
    GenerationStarted,
)
from shared.schemas.realtime import (
    SERVER_FRAME,
    ChatSend,
    ErrorFrame,
    GenerationCancel,
    GenerationQueued,
    ServerFrame,
)

#: Handshakes at once while many sockets are opened.
_HANDSHAKES = 16
#: How long the ends of cancelled answers are waited for.
_CANCEL_SECONDS = 2.0


class _Asked:
    """A question on its way."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.ended = asyncio.Event()

    def fail(self, error: ErrorBody, at: float, *, refused: bool, retry_after_seconds: float | None = None) -> None:
        self.sample.fail(Failure(error.code, error.message, refused, status_of(error.code), retry_after_seconds), at)
        self.ended.set()


class _Socket:
    """One socket and the questions on it. Unlike :class:`Connection` it does not come back: a loss is a result."""

    def __init__(self, connection: ClientConnection, chat_ids: list[str]) -> None:
        self._connection = connection
        self._chat_ids = chat_ids
        self._waiting: dict[str, _Asked] = {}  # by request_id, not accepted yet
        self._open: dict[str, _Asked] = {}  # by generation_id
        self._reader = asyncio.create_task(self._read())

    @property
    def is_lost(self) -> bool:
        return self._reader.done()

    async def ask(self, question: Question, wish: Wish, sample: Sample) -> None:
        asked, request_id = _Asked(sample), uuid.uuid4().hex
        params = GenerationParams(temperature=0.0, repetition_penalty=1.0, max_new_tokens=wish.max_new_tokens)
        self._waiting[request_id] = asked
        sample.sent_at = time.perf_counter()
        await self._send(
            ChatSend(
                type="chat.send",
                request_id=request_id,
                model=wish.model,
                content=question.content,
                system=question.system,
                params=params,
            )
        )
        if self._reader.done():
            self._fail_all()
        await asked.ended.wait()

    async def cancel_all(self) -> None:
        for generation_id in list(self._open):
            await self._send(GenerationCancel(type="generation.cancel", generation_id=generation_id))
        await asyncio.gather(*(asked.ended.wait() for asked in self._open.values()))

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._connection.close()

    async def _send(self, frame: StrictMessage) -> None:
        # A socket that is gone is the reader's to tell.
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(frame.model_dump_json(exclude_none=True))

    async def _read(self) -> None:
        try:
            async for text in self._connection:
                self._take(SERVER_FRAME.validate_json(text), time.perf_counter())
        except (ConnectionClosed, ValidationError):
            pass
        self._fail_all()

    def _fail_all(self) -> None:
        reason = self._connection.close_reason or "the socket was lost"
        failure = Failure(CONNECTION_LOST, reason, refused=False)
        for asked in (*self._waiting.values(), *self._open.values()):
            asked.sample.fail(failure, time.perf_counter())
            asked.ended.set()
        self._waiting.clear()
        self._open.clear()

    def _take(self, frame: ServerFrame, at: float) -> None:
        match frame:
            case GenerationDelta():
                if (asked := self._open.get(frame.generation_id)) is not None:
                    _take_delta(asked.sample, frame, at)
            case GenerationQueued():
                if (asked := self._waiting.pop(frame.request_id, None)) is not None:
                    self._open[frame.generation_id] = asked
                    self._chat_ids.append(frame.chat_id)
            case GenerationStarted():
                if (asked := self._open.get(frame.generation_id)) is not None:
                    asked.sample.prompt_tokens = frame.prompt_tokens
            case GenerationFinished():
                if (asked := self._open.pop(frame.generation_id, None)) is not None:
                    _finish(asked, frame, at)
            case GenerationFailed():
                if (asked := self._open.pop(frame.generation_id, None)) is not None:
                    asked.fail(frame.error, at, refused=False)
            case ErrorFrame():
                if (asked := self._waiting.pop(frame.request_id or "", None)) is not None:
                    asked.fail(frame.error, at, refused=True, retry_after_seconds=frame.retry_after_seconds)
            case _:
                pass


def _take_delta(sample: Sample, delta: GenerationDelta, at: float) -> None:
    sample.deltas_at.append(at)
    if delta.seq != len(sample.deltas_at):
        sample.fail(Failure(SEQUENCE_BROKEN, f"delta {delta.seq} came as number {len(sample.deltas_at)}", False), at)


def _finish(asked: _Asked, end: GenerationFinished, at: float) -> None:
    sample = asked.sample
    sample.prompt_tokens, sample.completion_tokens = end.usage.prompt_tokens, end.usage.completion_tokens
    sample.timings = end.timings
    if end.seq != len(sample.deltas_at):
        sample.fail(Failure(SEQUENCE_BROKEN, f"{len(sample.deltas_at)} of {end.seq} deltas came", False), at)
    elif end.finish_reason == "cancelled":
        sample.fail(Failure("cancelled", "the answer was cancelled", False), at)
    elif sample.ended_at is None:
        sample.ended_at = at
    asked.ended.set()


class WebSocketDriver(Driver):
    """Asks over a number of sockets; one that was lost is opened again by the next question on its place."""

    def __init__(self, url: str, key: str) -> None:
        self.chat_ids: list[str] = []
        self._address = GatewayAddress(url)
        self._key = key
        self._sockets: list[_Socket | None] = []
        self._opening = asyncio.Semaphore(_HANDSHAKES)

    async def open(self, places: int) -> None:
        missing = places - len(self._sockets)
        opened = await asyncio.gather(*(self._opened() for _ in range(missing)), return_exceptions=True)
        self._sockets += [socket for socket in opened if isinstance(socket, _Socket)]
        for failure in opened:
            if isinstance(failure, BaseException):
                raise failure

    async def ask(self, place: int, question: Question, wish: Wish, sample: Sample) -> None:
        socket = self._sockets[place]
        if socket is None or socket.is_lost:
            self._sockets[place] = None
            try:
                socket = await self._opened()
            except PlatformError as error:
                sample.fail(Failure(CONNECTION_LOST, error.message, refused=True), time.perf_counter())
                return
            self._sockets[place] = socket
        await socket.ask(question, wish, sample)

    async def close(self) -> None:
        sockets = [socket for socket in self._sockets if socket is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await asyncio.gather(*(socket.cancel_all() for socket in sockets))
        await asyncio.gather(*(socket.close() for socket in sockets))
        self._sockets.clear()

    async def _opened(self) -> _Socket:
        async with self._opening:
            connection, _ = await open_socket(self._address, self._key)
        return _Socket(connection, self.chat_ids)
