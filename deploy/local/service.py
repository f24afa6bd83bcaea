"""One child process of the launcher: started, watched, restarted, stopped with everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.log_files import last_words

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ServiceCommand:
    """What is started.

    Attributes:
        name: as the launcher's lines call it.
        standard_input: written to the process at its start, for what must not be seen in the list of processes.
        grace_seconds: from the request to stop to SIGKILL.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    standard_input: bytes | None = None
    grace_seconds: float = 15.0


class Service:
    """A process group of its own, so that the terminal's Ctrl-C reaches the launcher alone."""

    def __init__(self, command: ServiceCommand) -> None:
        self.command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process_id(self) -> int | None:
        """Of the process that runs; None between an end and the next start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process; returns as soon as it runs.

        Raises:
            OSError: it cannot be started.
        """
        self.command.log.parent.mkdir(parents=True, exist_ok=True)
        given = self.command.standard_input
        with self.command.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command.arguments,
                stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=self.command.environment,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()),
            )
        if given is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(given)
                await self._process.stdin.drain()
            self._process.stdin.close()

    async def wait(self) -> str:
        """Wait for the end of the process; return how it ended, in words."""
        assert self._process is not None
        status = await self._process.wait()
        # What it had started and left behind would hold its port, its memory or its device.
        self._signal_group(signal.SIGKILL)
        # Its number may soon be another program's.
        self._process = None
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def stop(self) -> bool:
        """End the process and everything in its group; return whether it went within its grace."""
        process = self._process
        if process is None:
            return True
        in_time = True
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), self.command.grace_seconds)
            except TimeoutError:
                in_time = False
        self._signal_group(signal.SIGKILL)
        await process.wait()
        return in_time

    def kill(self) -> None:
        """End the process and its group without grace."""
        self._signal_group(signal.SIGKILL)

    def last_words(self) -> str:
        """What it logged last, preferably an error."""
        return last_words(self.command.log)

    def _signal_group(self, number: signal.Signals) -> None:
        # The group outlives its leader while a member lives; with no member left, this finds nothing.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _dies_with(parent_id: int) -> Callable[[], None]:
    """Return what a child runs before its program: the kernel kills it when the launcher dies, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The launcher may have died before the line above took effect.
        if os.getppid() != parent_id:
            os._exit(1)

    return bind
