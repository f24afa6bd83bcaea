"""The other end of the client's socket in these tests: it speaks the protocol's frames from a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

KEY = "key-of-the-test"
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted socket: what the script says and hears."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self.socket = socket
        self.number = number

    async def say(self, kind: str, **fields: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def hear(self) -> dict[str, object]:
        frame: dict[str, object] = json.loads(await self.socket.recv())
        return frame

    async def accept(self, generation_id: str = "g1") -> dict[str, object]:
        """Hear a question and take it into the queue."""
        frame = await self.hear()
        await self.say(
            "generation.queued",
            request_id=frame["request_id"],
            generation_id=generation_id,
            chat_id="c1",
            user_message_id="u1",
            message_id=generation_id,
            position=0,
        )
        return frame

    async def start(self, generation_id: str = "g1") -> None:
        await self.say(
            "generation.started",
            generation_id=generation_id,
            model="m",
            variant="int4",
            device="CPU",
            worker_id="w1",
            prompt_tokens=3,
            dropped_turns=0,
        )

    async def deltas(self, *texts: str, first_seq: int = 1, generation_id: str = "g1") -> None:
        for seq, text in enumerate(texts, start=first_seq):
            await self.say("generation.delta", generation_id=generation_id, seq=seq, text=text, channel="answer")

    async def finish(self, seq: int, *, reason: str = "stop", generation_id: str = "g1") -> None:
        await self.say(
            "generation.finished",
            generation_id=generation_id,
            seq=seq,
            finish_reason=reason,
            usage={"prompt_tokens": 3, "completion_tokens": seq},
            timings={"queue_ms": 1.0, "first_token_ms": 2.0, "total_ms": 3.0},
        )


def _check_key(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Authorization") == f"Bearer {KEY}":
        return None
    error = {"message": "no such key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    return connection.respond(401, json.dumps({"error": error}))


@asynccontextmanager
async def scripted_gateway(*scripts: Script, port: int = 0) -> AsyncIterator[str]:
    """Serve the first socket with the first script, the next with the next; yield the address."""
    accepted = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal accepted
        accepted += 1
        peer = Peer(socket, accepted)
        await peer.say("session.ready", user="admin", protocol=1)
        await scripts[accepted - 1](peer)

    async with serve(handle, "127.0.0.1", port, process_request=_check_key) as server:
        yield f"http://127.0.0.1:{port_of(server)}"


def port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port
