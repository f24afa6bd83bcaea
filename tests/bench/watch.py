"""Reading something from outside again and again, in a thread of its own, while a block runs."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Watch(ABC):
    """Calls `read` every so many seconds from entering the block to leaving it."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_on)

    @abstractmethod
    def read(self) -> None:
        """Take one reading."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._over.wait(self._every_seconds):
            self.read()
