"""What the platform is compared with, as a child process that is spoken to in lines of JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

from gateway.client.bench.prompts import Question
from shared.errors import PlatformError, Unavailable
from shared.schemas.bench import PEER_LINE, PeerChat, PeerFailed, PeerFigures, PeerReady, PeerRound

#: Run by name: the gateway's package imports nothing of the inference worker's.
_MODULE = "inference_worker.bench"
_LINE_BYTES = 1 << 24
_END_SECONDS = 10.0


class PeerProcess:
    """``async with PeerProcess(…) as peer`` loads the model; rounds are run one after the other.

    Raises:
        Unavailable: on entering and from each round; the model cannot be loaded here, with what is missing.
    """

    def __init__(self, name: str, *, store: Path, model: str, variant: str, device: str) -> None:
        self.name = name
        self.versions: dict[str, str] = {}
        self._arguments = ("--store", str(store), "--model", model, "--variant", variant, "--device", device)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULE, self.name, *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            # Ctrl-C is for the command, which ends this process itself.
            start_new_session=True,
        )
        self._noise = asyncio.create_task(self._process.stderr.read() if self._process.stderr else _nothing())
        try:
            ready = await self._line()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        if isinstance(ready, PeerReady):
            self.versions = ready.versions
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._noise

    async def run(self, questions: list[Question], max_new_tokens: int) -> PeerFigures:
        """Run the questions of one round."""
        chats = tuple(PeerChat(content=question.content, system=question.system) for question in questions)
        await self._send(PeerRound(chats=chats, max_new_tokens=max_new_tokens))
        figures = await self._line()
        if not isinstance(figures, PeerFigures):
            raise Unavailable(f"--compare {self.name} answered out of turn")
        return figures

    async def _send(self, line: BaseModel) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.model_dump_json().encode() + b"\n")
        await self._process.stdin.drain()

    async def _line(self) -> PeerReady | PeerFigures:
        assert self._process is not None
        assert self._process.stdout is not None
        text = await self._process.stdout.readline()
        try:
            line = PEER_LINE.validate_json(text)
        except ValidationError:
            raise await self._loss() from None
        if isinstance(line, PeerFailed):
            raise Unavailable(f"--compare {self.name}: {line.message}")
        return line

    async def _loss(self) -> PlatformError:
        """Say how the process ended without a word; its last line tells what Python misses."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        status = await self._process.wait()
        noise = (await self._noise).decode("utf-8", "replace").strip().splitlines()
        last = noise[-1] if noise else "it said nothing"
        return Unavailable(f"--compare {self.name}: its process ended with {status}: {last}")


async def _nothing() -> bytes:
    return b""
