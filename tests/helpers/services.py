"""The platform's services as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.helpers.redis_server import free_port

ADMIN_KEY = "test-admin-key"


def wait_until(condition: Callable[[], object], *, seconds: float = 20.0, what: str = "") -> None:
    """Return once a condition holds; fail after a time that no healthy machine needs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold a refusal against the one error body, and return it."""
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    return error


class Service:
    """One process with its log; `preexec` is what it runs before its program."""

    preexec: Callable[[], None] | None = None

    def __init__(self, module: str, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.module = module
        self.log = log
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OVCHAT_")},
            "OVCHAT_LOG_FORMAT": "json",
            # They take the cores whenever nothing is converted; what tests them switches them on.
            "OVCHAT_QUALITY_CARDS": "false",
            **environment,
        }
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self._arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self.preexec,  # noqa: PLW1509 - chaos sets it, and forks on its main thread.
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self, *, seconds: float = 30.0) -> int:
        """Ask it to end; what does not is killed and fails the test."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.module} did not end within {seconds} s: {self.output[-3000:]}") from None
        return int(self.process.returncode)

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Gateway(Service):
    """A gateway on a port of its own."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *, port: int | None = None, gives_admin_key: bool = True
    ) -> None:
        self.port = port or free_port()
        # Tests try many wrong keys from one address.
        settings = {"OVCHAT_SIGN_IN_FAILURES_PER_MINUTE": "100000"}
        if gives_admin_key:
            settings["OVCHAT_ADMIN_KEY"] = ADMIN_KEY
        super().__init__("gateway", {**settings, **environment, "OVCHAT_PORT": str(self.port)}, log)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/ws"

    def client(self, *, key: str | None = ADMIN_KEY) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # Reading the certificates of the world takes 50 ms each time, and there is no TLS here.
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output[-3000:]
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, verify=False).status_code == 200
        except httpx.TransportError:
            return False

    def start_ready(self) -> Self:
        self.start()
        wait_until(self.is_ready, what="gateway ready")
        return self
