"""A client of the WebSocket that comes back after every break, on any gateway, and goes on where it was."""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import websockets

from tests.chaos.asks import Ask
from tests.chaos.live_view import ENDS, LiveView
from tests.chaos.recorder import Recorder
from tests.helpers.services import ADMIN_KEY

#: An answer that has not ended by then is given up, which the checker counts against the platform.
GIVE_UP_SECONDS = 120.0
#: Silence after which the connection is taken for broken, as a careful client would.
SILENCE_SECONDS = 30.0
_RETRY_SECONDS = 0.2
#: Refusals of the moment: the same command is sent again.
PASSING = frozenset({"redis_unavailable", "draining", "unavailable", "overloaded", "no_worker", "internal_error"})
_LOST = (OSError, websockets.WebSocketException, TimeoutError)


class SocketClient:
    """Asks one thing after the other on one connection at a time."""

    def __init__(
        self,
        name: str,
        socket_urls: Sequence[str],
        model: str,
        view: LiveView,
        recorder: Recorder,
        dice: random.Random,
        *,
        key: str = ADMIN_KEY,
    ) -> None:
        self._name = name
        self._socket_urls = socket_urls
        self._key = key
        self._model = model
        self._view = view
        self._recorder = recorder
        self._dice = dice
        self._socket: websockets.ClientConnection | None = None

    async def ask(self, ask: Ask) -> None:
        """Ask and follow the answer to its end."""
        self._recorder.add("ask", client=self._name, **ask.row())
        talk = _Talk(ask, lambda what, **fields: self._recorder.add(what, ask=ask.name, **fields))
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while not talk.is_over:
                    try:
                        await self._follow(talk)
                    except _LOST as error:
                        await self._lose(ask, type(error).__name__)
        except TimeoutError:
            self._recorder.add("gave_up", ask=ask.name)
        if talk.generation_id is not None:
            self._view.forget(talk.generation_id)

    async def leave(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with contextlib.suppress(*_LOST):
                await self._socket.close()
            self._socket = None

    async def _follow(self, talk: "_Talk") -> None:
        socket = await self._connected(talk.ask)
        await socket.send(json.dumps(talk.opening(self._model)))
        if talk.cancel_sent:
            await self._cancel(talk, socket)
        while not talk.is_over:
            async with asyncio.timeout(SILENCE_SECONDS):
                frame = json.loads(await socket.recv())
            self._recorder.add("frame", ask=talk.ask.name, frame=frame)
            self._view.take(frame)
            if talk.take(frame):
                await asyncio.sleep(_RETRY_SECONDS)
                await socket.send(json.dumps(talk.opening(self._model)))
                if talk.cancel_sent:
                    await self._cancel(talk, socket)
            if talk.wants_to_cancel:
                await self._cancel(talk, socket)
            if talk.wants_a_cut():
                socket.transport.abort()
                raise ConnectionError("cut by the client")

    async def _cancel(self, talk: "_Talk", socket: websockets.ClientConnection) -> None:
        talk.cancel_sent = True
        self._recorder.add("cancel", ask=talk.ask.name)
        await socket.send(json.dumps({"type": "generation.cancel", "generation_id": talk.generation_id}))

    async def _connected(self, ask: Ask) -> websockets.ClientConnection:
        if self._socket is None:
            gateway = self._dice.randrange(len(self._socket_urls))
            self._socket = await websockets.connect(
                self._socket_urls[gateway],
                additional_headers={"Authorization": f"Bearer {self._key}"},
                compression=None,
                max_size=None,
                open_timeout=5,
            )
            self._recorder.add("connected", ask=ask.name, gateway=gateway)
        return self._socket

    async def _lose(self, ask: Ask, reason: str) -> None:
        was_connected = self._socket is not None
        if self._socket is not None:
            self._socket.transport.abort()
        self._socket = None
        if was_connected:
            self._recorder.add("broke", ask=ask.name, reason=reason)
        await asyncio.sleep(self._dice.uniform(0.02, _RETRY_SECONDS))


class _Talk:
    """Where one answer stands."""

    def __init__(self, ask: Ask, record: Callable[..., None]) -> None:
        self.ask = ask
        self.generation_id: str | None = None
        self.is_over = False
        self.cancel_sent = False
        self._record = record
        self._seq = 0
        self._deltas = 0
        self._cut = -1

    def opening(self, model: str) -> dict[str, Any]:
        """Return what a new connection begins with: the question, or where to go on."""
        if self.generation_id is not None:
            return {"type": "generation.resume", "generation_id": self.generation_id, "after_seq": self._seq}
        return {
            "type": "chat.send",
            "request_id": self.ask.name,
            "model": model,
            "content": self.ask.content,
            "params": self.ask.params(),
        }

    @property
    def wants_to_cancel(self) -> bool:
        after = self.ask.cancel_after
        return (
            after is not None
            and self._deltas >= after
            and not self.cancel_sent
            and not self.is_over
            and self.generation_id is not None
        )

    def wants_a_cut(self) -> bool:
        """Whether the connection is to be lost now; says so once for each place."""
        if self._deltas in self.ask.cuts and self._deltas > self._cut and not self.is_over and self.generation_id:
            self._cut = self._deltas
            return True
        return False

    def take(self, frame: dict[str, Any]) -> bool:
        """Take a frame; return whether the command must be sent again."""
        named = frame.get("generation_id")
        if frame["type"] == "error":
            if frame.get("request_id") not in (None, self.ask.name) or named not in (None, self.generation_id):
                return False
            if frame["error"]["code"] in PASSING:
                return True
            self._record("refused", error=frame["error"])
            self.is_over = True
            return False
        if frame["type"] == "generation.queued" and frame["request_id"] == self.ask.name:
            self.generation_id = named
        if named is None or named != self.generation_id:
            return False
        if frame["type"] == "generation.delta":
            self._seq, self._deltas = frame["seq"], self._deltas + 1
        elif frame["type"] in ENDS:
            self.is_over = True
        return False
