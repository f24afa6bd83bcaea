"""A client of the chat socket that survives lost connections and restarted gateways.

After a reconnection each open generation is resumed behind its last delta, and a question that was not yet accepted is
sent again under its ``request_id``, which the gateway answers with the same generation. Nothing is lost or repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.client.address import GatewayAddress
from gateway.client.generation import Generation, Question
from gateway.client.handshake import open_socket
from shared.errors import (
    GenerationNotFound,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    JournalExpired,
    PlatformError,
    Unavailable,
    error_from_body,
)
from shared.schemas.common import StrictMessage
from shared.schemas.generation import GenerationParams
from shared.schemas.realtime import (
    MAX_FRAME_BYTES,
    SERVER_FRAME,
    ChatRegenerate,
    ChatSend,
    ErrorFrame,
    GenerationCancel,
    GenerationQueued,
    GenerationResume,
    Pong,
    ServerFrame,
    SessionReady,
)

#: Close codes that say "this key may not": trying again with the same key is of no use.
_REFUSED_CODES = frozenset({1008, 3000, 3003, 4401, 4403})
_LONGEST_PAUSE_SECONDS = 2.0


class Connection:
    """One user's socket: ``async with Connection(url, key) as connection``.

    Args:
        url: the gateway, such as ``http://127.0.0.1:8000``.
        key: the API key.
        reconnect_seconds: how long a lost gateway is looked for before open generations fail; 0 never looks.

    Attributes:
        is_lost: whether the socket is gone and not yet replaced.
        on_lost: called in the connection's loop each time that the socket is lost.

    Raises:
        Unavailable: on entering, nobody answers at the address.
        InvalidApiKey: on entering, the gateway does not know the key.
    """

    def __init__(self, url: str, key: str, *, reconnect_seconds: float = 60.0) -> None:
        self.user: str | None = None
        self.is_lost = False
        self.on_lost: Callable[[], None] | None = None
        self._address = GatewayAddress(url)
        self._key = key
        self._reconnect_seconds = reconnect_seconds
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._failure: PlatformError | None = None
        self._waiting: dict[str, Generation] = {}  # by request_id, not accepted yet
        self._open: dict[str, Generation] = {}  # by generation_id
        self._resuming: list[Generation] = []  # resumed, nothing heard yet; oldest first
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._socket, self.user = await open_socket(self._address, self._key)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._tasks, *([self._reader] if self._reader is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        self._fail_all(Unavailable("the connection was closed by this client"))

    async def send(
        self,
        model: str,
        content: str,
        *,
        chat_id: str | None = None,
        parent_message_id: str | None = None,
        system: str | None = None,
        params: GenerationParams | None = None,
        request_id: str | None = None,
    ) -> Generation:
        """Ask a question, in a new chat where ``chat_id`` is None, and return once it is accepted.

        An answer in the same chat that was cancelled here ends first.

        Raises:
            PlatformError: the gateway refused the question; the class says why.
        """
        question = ChatSend(
            type="chat.send",
            request_id=request_id or uuid.uuid4().hex,
            chat_id=chat_id,
            model=model,
            content=content,
            parent_message_id=parent_message_id,
            system=system,
            params=params,
        )
        return await self._ask(question)

    async def regenerate(
        self, chat_id: str, message_id: str, *, params: GenerationParams | None = None, request_id: str | None = None
    ) -> Generation:
        """Ask for another answer beside the given one; raises as :meth:`send` does."""
        return await self._ask(
            ChatRegenerate(
                type="chat.regenerate",
                request_id=request_id or uuid.uuid4().hex,
                chat_id=chat_id,
                message_id=message_id,
                params=params,
            )
        )

    async def resume(self, generation_id: str, *, after_seq: int = 0) -> Generation:
        """Follow a generation of this user from after a delta that was received elsewhere.

        Raises:
            GenerationNotFound: no generation of this user has this id.
            JournalExpired: it ended too long ago; its message is stored in the chat.
        """
        await self._revive()
        generation = Generation(self._cancel, generation_id=generation_id, last_seq=after_seq)
        self._open[generation_id] = generation
        await self._resume(generation)
        return generation

    async def _ask(self, question: Question) -> Generation:
        await self._wait_for_cancelled(question.chat_id)
        await self._revive()
        if len(_encoded(question).encode()) > MAX_FRAME_BYTES:
            raise InvalidRequest(f"the question is longer than {MAX_FRAME_BYTES} bytes", param="content")
        generation = Generation(self._cancel, question=question)
        self._waiting[question.request_id] = generation
        await self._transmit(question)
        try:
            await generation.accepted
        except asyncio.CancelledError:
            # Nobody waits for the answer any more: it is cancelled as soon as it has an id to name.
            generation.cancel_wanted = True
            raise
        return generation

    async def _wait_for_cancelled(self, chat_id: str | None) -> None:
        """Let what was cancelled in a chat end: the gateway takes no question into a branch that is being answered."""
        for generation in (*self._waiting.values(), *self._open.values()):
            if generation.cancel_wanted and generation.is_of(chat_id):
                await generation.wait_for_end()

    async def _revive(self) -> None:
        """Look for the gateway once more where an idle connection had given up."""
        if isinstance(self._failure, Unavailable):
            self._socket, self.user = await open_socket(self._address, self._key)
            self._failure, self.is_lost = None, False
            self._reader = asyncio.create_task(self._read())
        if self._failure is not None:
            raise self._failure

    async def _cancel(self, generation: Generation) -> None:
        if generation.ended:
            return
        generation.cancel_wanted = True
        if generation.generation_id is not None:
            await self._transmit(GenerationCancel(type="generation.cancel", generation_id=generation.generation_id))

    async def _resume(self, generation: Generation) -> None:
        assert generation.generation_id is not None
        self._resuming.append(generation)
        await self._transmit(
            GenerationResume(
                type="generation.resume", generation_id=generation.generation_id, after_seq=generation.last_seq
            )
        )

    async def _transmit(self, frame: StrictMessage) -> None:
        # A frame that finds the socket closed is not lost: everything open is said again after the reconnection.
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(_encoded(frame))

    async def _read(self) -> None:
        try:
            while True:
                assert self._socket is not None
                try:
                    async for text in self._socket:
                        self._take(text)
                except ConnectionClosed:
                    pass
                code, reason = self._socket.close_code, self._socket.close_reason
                if code in _REFUSED_CODES:
                    raise InvalidApiKey(reason or "the gateway refused the key")
                self.is_lost = True
                if self.on_lost is not None:
                    self.on_lost()
                await self._reconnect()
        except PlatformError as error:
            self._fail_all(error)

    async def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._reconnect_seconds
        pause_seconds = 0.05
        while True:
            try:
                self._socket, self.user = await open_socket(self._address, self._key)
                break
            except Unavailable:
                if loop.time() + pause_seconds > deadline:
                    raise
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        self.is_lost = False
        self._resuming.clear()
        for generation in list(self._open.values()):
            await self._resume(generation)
            if generation.cancel_wanted:
                await self._cancel(generation)
        for generation in list(self._waiting.values()):
            assert generation.question is not None
            await self._transmit(generation.question)

    def _take(self, text: str | bytes) -> None:
        try:
            frame: ServerFrame = SERVER_FRAME.validate_json(text)
        except ValidationError as error:
            raise InternalError("the gateway sent a frame that this client does not know") from error
        if isinstance(frame, SessionReady | Pong):
            return
        if isinstance(frame, ErrorFrame):
            self._refuse(frame)
            return
        if isinstance(frame, GenerationQueued) and (asked := self._waiting.pop(frame.request_id, None)) is not None:
            self._open[frame.generation_id] = asked
        generation = self._open.get(frame.generation_id)
        if generation is None:
            return
        if generation in self._resuming:
            self._resuming.remove(generation)
        was_nameless = generation.generation_id is None
        generation.feed(frame)
        if generation.ended:
            del self._open[frame.generation_id]
        elif generation.cancel_wanted and was_nameless:
            self._later(self._cancel(generation))

    def _refuse(self, frame: ErrorFrame) -> None:
        error = error_from_body(frame.error)
        error.retry_after_seconds = frame.retry_after_seconds
        if frame.request_id is not None and (asked := self._waiting.pop(frame.request_id, None)) is not None:
            asked.fail(error)
            return
        refused = self._open.get(frame.generation_id or "")
        if refused is None or refused not in self._resuming:
            return
        self._resuming.remove(refused)
        if isinstance(error, GenerationNotFound | JournalExpired):
            self._open.pop(frame.generation_id or "", None)
            refused.fail(error)
        elif error.retryable:
            # Such as Redis being away for a moment: the generation itself goes on.
            self._later(self._resume_after_a_pause(refused))

    async def _resume_after_a_pause(self, generation: Generation) -> None:
        await asyncio.sleep(_LONGEST_PAUSE_SECONDS / 2)
        if not generation.ended and generation not in self._resuming:
            await self._resume(generation)

    def _later(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(coroutine)
        # The loop holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fail_all(self, error: PlatformError) -> None:
        self._failure = error
        for generation in (*self._waiting.values(), *self._open.values()):
            generation.fail(error)
        self._waiting.clear()
        self._open.clear()


def _encoded(frame: StrictMessage) -> str:
    return frame.model_dump_json(exclude_none=True)
