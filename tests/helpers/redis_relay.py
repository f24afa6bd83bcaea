"""A relay in front of Redis that holds chosen commands back, so that a test decides which of two comes first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.commands.core import AsyncScript

from shared.redis_client import AsyncRedis
from shared.scripts import load_script
from tests.helpers.redis_server import RedisServer


class RedisRelay:
    """Passes everything on but for commands of one kind, which wait with all that follows them on the connection."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._held: bytes | None = None
        self._holds_one = False
        self._released = asyncio.Event()
        self._caught = asyncio.Event()
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RedisRelay]:
        """Listen until left."""
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as listener:
            self.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
            try:
                yield self
            finally:
                self.release()

    def hold(self, client: AsyncRedis, script: str, *, only_one: bool = False) -> None:
        """Hold the next calls of a script back, or the next one only, and let those behind it pass."""
        loaded: AsyncScript = load_script(client, script)._script
        self._hold(loaded.sha, only_one=only_one)

    def hold_command(self, name: str) -> None:
        """Hold the next call of a command back, and let those behind it pass."""
        self._hold(name, only_one=True)

    async def caught(self) -> None:
        """Return once a call is held."""
        await self._caught.wait()

    def release(self) -> None:
        """Pass on what is held."""
        self._held = None
        self._released.set()

    def _hold(self, mark: str, *, only_one: bool) -> None:
        self._held, self._holds_one = mark.encode(), only_one
        self._released.clear()
        self._caught.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        await asyncio.gather(self._pass(reader, far_writer, may_hold=True), self._pass(far_reader, writer))

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, may_hold: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(1 << 16):
                if may_hold and self._held is not None and self._held in chunk:
                    self._caught.set()
                    if self._holds_one:
                        self._held = None
                    await self._released.wait()
                target.write(chunk)
                await target.drain()
        target.close()
