"""Locks of a cache that several workers of a host share: files, which the kernel lets go when a process ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

_FOLDER = ".locks"


class CacheLock:
    """One lock file, open. Who changes a variant has it alone; who uses one has it together with others.

    The file's time of change is the time of the last use. Lock files stay: one that is removed could be locked by two.
    """

    def __init__(self, cache: Path, name: str) -> None:
        folder = cache / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def try_alone(self) -> bool:
        """Take it where nobody has it."""
        return self._try(fcntl.LOCK_EX)

    def try_together(self) -> bool:
        """Take it where nobody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def wait_alone(self) -> None:
        """Take it once nobody has it: for what is over in a moment."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let it go and keep the file open."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def note_use(self) -> None:
        """Remember that the variant was used now."""
        now = time.time_ns()
        os.utime(self._descriptor, ns=(now, now))

    @property
    def last_use(self) -> float:
        """When the variant was last used, in seconds since 1970."""
        return os.fstat(self._descriptor).st_mtime

    def close(self) -> None:
        """Let it go; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
