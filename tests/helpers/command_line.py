"""The ``ovchat`` command as a person calls it: in a process of its own, and on a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

from tests.helpers.services import ADMIN_KEY, Gateway

OVCHAT = (sys.executable, "-c", "from gateway.client.command_line import main; main()")


def clean_environment() -> dict[str, str]:
    """Return the environment without any setting of the caller's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OVCHAT_")}


def environment_of(gateway: Gateway, **settings: str) -> dict[str, str]:
    """Return the environment in which the command finds a gateway."""
    return {**clean_environment(), "OVCHAT_URL": gateway.url, "OVCHAT_API_KEY": ADMIN_KEY, **settings}


def ovchat(environment: dict[str, str], *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OVCHAT, *arguments], env=environment, input=given, capture_output=True, text=True, timeout=90, check=False
    )


class Terminal:
    """A command on a terminal of its own, as a person has it."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [*OVCHAT, *arguments],
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # The terminal's Ctrl-C goes to the process group that controls it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no other thread runs here
        )
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, pattern: str, *, seconds: float = 60.0, pressing: str = "") -> None:
        """Read until the pattern is seen; what was read up to there counts no more.

        `pressing` is typed again every two seconds of silence, as a person would.
        """
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.seen)) is None:
            readable, _, _ = select.select([self._master], [], [], 2.0 if pressing else 0.1)
            if readable:
                self.seen += os.read(self._master, 65536).decode("utf-8", "replace")
            elif pressing:
                self.type(pressing)
            assert time.monotonic() < deadline, f"{pattern!r} not seen in {self.seen!r}"
        self.seen = self.seen[found.end() :]

    def end(self) -> int:
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._master)
