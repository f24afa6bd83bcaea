"""A plain WebSocket client that keeps every frame, for tests that look at the protocol itself."""

import asyncio
import json
from types import TracebackType
from typing import Any
from uuid import uuid4

import websockets

from tests.helpers.services import ADMIN_KEY

Frame = dict[str, Any]


class Socket:
    """One connection; frames are kept in the order in which they came."""

    def __init__(self, url: str, *, key: str | None = ADMIN_KEY, user: str = "admin") -> None:
        self._url = url
        self._user = user
        self.key = key
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.frames: list[Frame] = []

    async def __aenter__(self) -> "Socket":
        self.connection = await websockets.connect(
            self._url, additional_headers=self.headers, compression=None, max_size=None
        )
        ready = await self.receive()
        assert ready == {"type": "session.ready", "user": self._user, "protocol": 1}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connection.close()

    async def send(self, frame: Frame | str) -> None:
        await self.connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def receive(self, *, seconds: float = 30.0) -> Frame:
        async with asyncio.timeout(seconds):
            frame: Frame = json.loads(await self.connection.recv())
        self.frames.append(frame)
        return frame

    async def receive_until(self, *types: str, seconds: float = 60.0) -> list[Frame]:
        """Return the frames up to the first of one of the types, which is the last of them."""
        got = []
        async with asyncio.timeout(seconds):
            while True:
                got.append(await self.receive(seconds=seconds))
                if got[-1]["type"] in types:
                    return got

    async def chat(self, model: str, content: str, **fields: object) -> str:
        """Send a question and return its request id."""
        request_id = uuid4().hex
        await self.send({"type": "chat.send", "request_id": request_id, "model": model, "content": content, **fields})
        return request_id


def answer_text(frames: list[Frame]) -> str:
    """Return the answer that the deltas make."""
    return "".join(frame["text"] for frame in frames if frame["type"] == "generation.delta")


def assert_whole(frames: list[Frame]) -> None:
    """Hold one generation's frames against the protocol: queued first, seq without gap or repeat, one end, last."""
    types = [frame["type"] for frame in frames]
    assert types[0] == "generation.queued"
    deltas = [frame["seq"] for frame in frames if frame["type"] == "generation.delta"]
    assert deltas == list(range(1, len(deltas) + 1))
    ends = [frame for frame in frames if frame["type"] in ("generation.finished", "generation.failed")]
    assert len(ends) == 1
    assert frames[-1] is ends[0]
    if ends[0]["type"] == "generation.finished":
        assert ends[0]["seq"] == len(deltas)
