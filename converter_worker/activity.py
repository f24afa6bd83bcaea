"""Whether this worker converts just now; what can wait looks here and gives way."""

import contextlib
import threading
from collections.abc import Iterator


class Activity:
    """Safe for several threads: stages run side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages = 0

    @property
    def is_converting(self) -> bool:
        """Whether a stage of a conversion runs."""
        return self._stages > 0

    @contextlib.contextmanager
    def converting(self) -> Iterator[None]:
        """Say so while the context lasts."""
        with self._lock:
            self._stages += 1
        try:
            yield
        finally:
            with self._lock:
                self._stages -= 1
