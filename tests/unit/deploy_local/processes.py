"""Stand-in services: tiny commands that do what a service's process may do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from deploy.local.service import ServiceCommand

#: Prints its process id, then waits for SIGTERM.
OBEDIENT = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
#: Does not hear SIGTERM.
DEAF = (
    "import os, signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print(os.getpid(), flush=True)\n"
    "while True: signal.pause()"
)
#: Starts a process of its own, prints both ids, and leaves the other behind when it is told to stop.
PARENT = (
    "import os, signal, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print(os.getpid(), child.pid, flush=True)\n"
    "signal.pause()"
)


def command(folder: Path, name: str, program: str, *, grace_seconds: float = 20.0) -> ServiceCommand:
    return ServiceCommand(
        name=name,
        arguments=(sys.executable, "-S", "-E", "-c", program),
        environment=dict(os.environ),
        log=folder / f"{name}.log",
        grace_seconds=grace_seconds,
    )


async def printed_ids(log: Path, lines: int = 1) -> list[int]:
    """Wait until the log has so many whole lines; return the process ids of the last."""
    return [int(word) for word in (await printed_lines(log, lines))[-1].split()]


async def printed_lines(log: Path, lines: int) -> list[str]:
    """Wait until the log has so many whole lines; return those that it has."""
    async with asyncio.timeout(30):
        while True:
            printed = _lines(log)
            if len(printed) >= lines:
                return printed
            await asyncio.sleep(0.01)


def _lines(log: Path) -> list[str]:
    try:
        return [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except OSError:
        return []


def is_running(process_id: int) -> bool:
    """Whether the process is there and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(process_id: int) -> None:
    async with asyncio.timeout(30):
        while True:
            if not is_running(process_id):
                return
            await asyncio.sleep(0.01)
