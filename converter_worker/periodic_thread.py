"""Something done again and again while a block runs."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class PeriodicThread:
    """Calls `action` from a thread of its own every `period_seconds` until the block ends or it returns False."""

    def __init__(self, name: str, period_seconds: float, action: Callable[[], bool]) -> None:
        self._period_seconds = period_seconds
        self._action = action
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._period_seconds) and self._action():
            pass
