"""The memory of a process and all that it starts, read from outside while a block runs."""

import contextlib
from pathlib import Path

import psutil

from converter_worker.periodic_thread import PeriodicThread

_EVERY_SECONDS = 0.15


class MemoryWatch(PeriodicThread):
    """Adds up the proportional set sizes of a process tree: a page that several processes share counts once.

    `peak_bytes` is the largest sum seen; a peak between two readings is missed, so both sides of a comparison are read
    in the same way.
    """

    def __init__(self, pid: int) -> None:
        super().__init__("memory-watch", _EVERY_SECONDS, self._read)
        self._process = psutil.Process(pid)
        self.peak_bytes = 0

    def _read(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            tree = [self._process, *self._process.children(recursive=True)]
            self.peak_bytes = max(self.peak_bytes, sum(_proportional_bytes(one.pid) for one in tree))
        return True


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
