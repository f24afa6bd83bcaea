"""A child process that is spoken to in lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from pydantic import BaseModel

from shared.errors import PlatformError, Unavailable

_LINE_BYTES = 1 << 24


class LineProcess:
    """``python -m module arguments``; `start` first and `close` in the end, lines between them."""

    def __init__(self, label: str, module: str, arguments: Sequence[str]) -> None:
        """`label` stands before what is said of its loss."""
        self._label = label
        self._command = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._noise: asyncio.Task[bytes] | None = None

    async def start(self) -> None:
        """Start it; nothing is read yet."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            # Ctrl-C is for the command, which ends this process itself.
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._noise = asyncio.create_task(self._process.stderr.read())

    async def send(self, line: BaseModel) -> None:
        """Write one line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.model_dump_json().encode() + b"\n")
        # Of a process that is gone the next line tells.
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    async def receive(self) -> bytes:
        """Return the next line, nothing where there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def loss(self) -> PlatformError:
        """Say how the process ended without a word; its last line tells what Python misses."""
        assert self._process is not None
        assert self._noise is not None
        if self._process.returncode is None:
            self._process.kill()
        status = await self._process.wait()
        noise = (await self._noise).decode("utf-8", "replace").strip().splitlines()
        last = noise[-1] if noise else "it said nothing"
        return Unavailable(f"{self._label}: its process ended with {status}: {last}")

    async def close(self) -> None:
        """End it; idempotent."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._noise is not None:
            await self._noise
