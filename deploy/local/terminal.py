"""What the launcher says: one line per step, with a tick when it is done."""

from __future__ import annotations

import contextlib
import sys
import time


def say(line: str) -> None:
    """Print a line; a terminal that was closed does not keep the launcher from stopping what it started."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def warn(line: str) -> None:
    """Print a line on standard error."""
    with contextlib.suppress(OSError):
        print(f"! {line}", file=sys.stderr, flush=True)


class Step:
    """``with Step("gateway"): …`` prints a tick and the time when the block ends well."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self.detail = ""

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        detail = f"  {self.detail}" if self.detail else ""
        if kind is None:
            say(f"✔ {self._name}{detail}  ({time.monotonic() - self._began:.1f} s)")
        elif issubclass(kind, Exception):
            say(f"✘ {self._name}")
