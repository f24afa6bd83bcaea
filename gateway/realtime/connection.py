"""One WebSocket: commands in, events out through one bounded outbox."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
from fastapi import WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from gateway.exception_handlers import redis_error, retry_after_seconds, validation_error
from gateway.generations.caller import asks_now
from gateway.generations.relay import Subscription, is_terminal
from gateway.principal import Standing
from gateway.state import GatewayState
from shared.errors import GenerationNotFound, InternalError, InvalidFrame, PlatformError
from shared.journal import encode_frame
from shared.log import get_logger
from shared.redis_client import AWAY
from shared.schemas.common import Message
from shared.schemas.realtime import (
    CLIENT_FRAME,
    MAX_FRAME_BYTES,
    ChatRegenerate,
    ChatSend,
    ErrorFrame,
    GenerationCancel,
    GenerationResume,
    Pong,
    SessionReady,
)

_log = get_logger(__name__)

#: Frames that may wait for a slow client. Past that its socket is closed: it comes back and resumes from the journal.
OUTBOX_FRAMES = 10_000
CLOSE_TOO_BIG = 1009
CLOSE_RESTART = 1012
CLOSE_TOO_SLOW = 1013


class Connection:
    """Speaks the protocol of ``shared/docs/protocol.md`` on one socket."""

    def __init__(self, websocket: WebSocket, state: GatewayState, standing: Standing) -> None:
        self._websocket = websocket
        self._state = state
        self._standing = standing
        self._user = standing.principal.user
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._subscriptions: dict[str, Subscription] = {}
        self._overflow = asyncio.Event()

    async def serve(self) -> None:
        """Serve until the client leaves, is too slow, or the gateway drains; generations go on without it."""
        self._send(SessionReady(user=self._user))
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        draining = asyncio.create_task(self._state.draining.wait())
        overflow = asyncio.create_task(self._overflow.wait())
        tasks = (reader, writer, draining, overflow)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(RuntimeError):
                if overflow.done():
                    await self._websocket.close(CLOSE_TOO_SLOW, "reading too slowly; reconnect and resume")
                elif draining.done():
                    await self._websocket.close(CLOSE_RESTART, "gateway restarts; reconnect and resume")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for subscription in self._subscriptions.values():
                self._state.relay.unsubscribe(subscription)
                self._state.waiting_room.leave(subscription.generation_id)

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await self._handle(text.encode() if text is not None else message.get("bytes") or b"")

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                frame = await self._outbox.get()
                await self._websocket.send_text(frame.decode())

    async def _handle(self, raw: bytes) -> None:
        """Act on one frame; whatever is wrong with it, the socket lives on."""
        try:
            if len(raw) > MAX_FRAME_BYTES:
                raise InvalidFrame("The frame is larger than 1 MiB.")
            await self._act(raw)
        except PlatformError as error:
            self._refuse(raw, error)
        except AWAY as error:
            self._refuse(raw, redis_error(error))
        except Exception:  # noqa: BLE001 - logged whole; a socket outlives a frame
            _log.exception("frame_failed")
            self._refuse(raw, InternalError("Something went wrong here; the gateway's log has the cause."))

    async def _act(self, raw: bytes) -> None:
        try:
            frame = CLIENT_FRAME.validate_json(raw)
        except ValidationError as error:
            complaint = validation_error(error)
            raise InvalidFrame(complaint.message, param=complaint.param) from error
        match frame:
            case ChatSend() | ChatRegenerate():
                await self._begin(frame)
            case GenerationCancel():
                await self._cancel(frame)
            case GenerationResume():
                await self._resume(frame)
            case _:
                self._send(Pong())

    async def _begin(self, frame: ChatSend | ChatRegenerate) -> None:
        asks_now()
        admission = self._state.admission
        if isinstance(frame, ChatSend):
            admitted = await admission.send(self._standing.principal, frame)
        else:
            admitted = await admission.regenerate(self._standing.principal, frame)
        self._send(admitted.queued)
        generation_id = admitted.queued.generation_id
        await self._follow(generation_id, after_seq=0)
        if self._has_heard_nothing(generation_id):
            self._state.waiting_room.enter(admitted.queued, admitted.variant, self._push)

    async def _resume(self, frame: GenerationResume) -> None:
        await self._refuse_other_user(frame.generation_id)
        await self._follow(frame.generation_id, after_seq=frame.after_seq)
        if not self._has_heard_nothing(frame.generation_id):
            return
        still_waiting = await self._state.admission.waiting(frame.generation_id)
        # It may have begun meanwhile, and after that nobody is told that it is queued.
        if still_waiting is not None and self._has_heard_nothing(frame.generation_id):
            self._send(still_waiting.queued)
            self._state.waiting_room.enter(still_waiting.queued, still_waiting.variant, self._push)

    def _has_heard_nothing(self, generation_id: str) -> bool:
        """Whether a generation that is followed has no frame of its worker yet."""
        subscription = self._subscriptions.get(generation_id)
        return subscription is not None and subscription.next_n == 1

    async def _cancel(self, frame: GenerationCancel) -> None:
        if await self._state.queue.cancel(frame.generation_id, self._user) == "not_found":
            raise _not_found(frame.generation_id)

    async def _refuse_other_user(self, generation_id: str) -> None:
        if await self._state.journal.user(generation_id) not in (None, self._user):
            raise _not_found(generation_id)

    async def _follow(self, generation_id: str, *, after_seq: int) -> None:
        """Start a generation's stream on this socket, instead of one that it had already."""
        former = self._subscriptions.pop(generation_id, None)
        if former is not None:
            self._state.relay.unsubscribe(former)
        subscription = await self._state.relay.subscribe(generation_id, self._push, after_seq=after_seq)
        if not subscription.ended:
            self._subscriptions[generation_id] = subscription

    def _push(self, frame: bytes) -> None:
        if self._outbox.qsize() >= OUTBOX_FRAMES:
            self._overflow.set()
            return
        self._outbox.put_nowait(frame)
        if is_terminal(frame):
            generation_id = orjson.loads(frame)["generation_id"]
            self._subscriptions.pop(generation_id, None)
            self._state.waiting_room.leave(generation_id)

    def _refuse(self, raw: bytes, error: PlatformError) -> None:
        """Say what was wrong with a frame, naming what it was about."""
        self._send(
            ErrorFrame(
                request_id=_named_in(raw, "request_id"),
                generation_id=_named_in(raw, "generation_id"),
                error=error.body(),
                retry_after_seconds=retry_after_seconds(error),
            )
        )

    def _send(self, message: Message) -> None:
        self._push(encode_frame(message))


def _not_found(generation_id: str) -> GenerationNotFound:
    return GenerationNotFound(f"There is no generation {generation_id!r} of yours.", param="generation_id")


def _named_in(raw: bytes, field: str) -> str | None:
    """Return the id that a refused frame names in a field, where it does."""
    try:
        frame = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    value = frame.get(field) if isinstance(frame, dict) else None
    return value if isinstance(value, str) else None
