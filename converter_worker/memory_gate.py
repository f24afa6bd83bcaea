"""The memory of one converter, given out to the stages that it works on at once."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from converter_worker import host_memory
from converter_worker.cost_model import LIBRARIES_BYTES, STANDING_BYTES, together_bytes
from converter_worker.size_text import gigabytes
from converter_worker.stage_runner import StageStopped
from shared.errors import OutOfMemory

#: How often somebody who waits looks whether it is to stop, and whether other programs have given memory back.
POLL_SECONDS = 0.25


class MemoryGate:
    """Lets stages in, in the order in which they came, as long as their foretold peaks fit beside each other.

    One that waits for other programs' memory, while none of this converter's own is at work, fails after
    `patience_seconds`.
    """

    def __init__(
        self,
        budget_bytes: int | None,
        *,
        available: Callable[[], int | None] = host_memory.available_bytes,
        patience_seconds: float = 600.0,
    ) -> None:
        self._limit = budget_bytes
        self._available = available
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._held: list[int] = []
        self._waiting: deque[object] = deque()

    @property
    def busy(self) -> int:
        """How many stages are inside."""
        return len(self._held)

    @property
    def budget_bytes(self) -> int:
        """The most that stages may take together, the converter's own processes not counted."""
        limit = self._limit if self._limit is not None else host_memory.total_bytes()
        return 0 if limit is None else max(0, limit - STANDING_BYTES)

    @property
    def free_bytes(self) -> int:
        """The largest peak that a further stage could have now."""
        return min(self._within_budget(), self._within_host())

    @contextlib.contextmanager
    def inside(self, peak_bytes: int, should_stop: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
        """Hold a stage's memory while the context lasts; waits for it, and says so once.

        Raises:
            StageStopped: `should_stop` was true while waiting.
            OutOfMemory: other programs do not give back what is needed.
        """
        self._enter(peak_bytes, should_stop, say)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(peak_bytes)
                self._changed.notify_all()

    def _enter(self, peak_bytes: int, should_stop: Callable[[], bool], say: Callable[[str], None]) -> None:
        place = object()
        told = False
        alone_since: float | None = None
        with self._changed:
            self._waiting.append(place)
        try:
            while True:
                with self._changed:
                    if self._waiting[0] is place and self._fits(peak_bytes):
                        self._held.append(peak_bytes)
                        return
                    alone_since = None if self._held else alone_since or time.monotonic()
                    self._refuse_after(alone_since, peak_bytes)
                if should_stop():
                    raise StageStopped
                if not told:
                    # Outside the lock: saying it asks Redis.
                    say(f"waiting for memory: {gigabytes(peak_bytes)} needed, {gigabytes(self.free_bytes)} free")
                    told = True
                with self._changed:
                    self._changed.wait(POLL_SECONDS)
        finally:
            with self._changed:
                self._waiting.remove(place)
                self._changed.notify_all()

    def _fits(self, peak_bytes: int) -> bool:
        if self._held and together_bytes([*self._held, peak_bytes]) > self.budget_bytes:
            return False
        return peak_bytes <= self._within_host()

    def _within_budget(self) -> int:
        shared = LIBRARIES_BYTES if self._held else 0
        return max(0, self.budget_bytes - together_bytes(self._held) + shared)

    def _within_host(self) -> int:
        available = self._available()
        # What the parent has loaded is there already; what running children will still take is counted as if they had
        # taken none of it, because how far they are is not known.
        if available is None:
            return self.budget_bytes
        return max(0, available + LIBRARIES_BYTES - sum(max(0, peak - LIBRARIES_BYTES) for peak in self._held))

    def _refuse_after(self, alone_since: float | None, peak_bytes: int) -> None:
        if alone_since is not None and time.monotonic() - alone_since > self._patience_seconds:
            raise OutOfMemory(
                f"The stage needs about {gigabytes(peak_bytes)} of memory and other programs of this host left "
                f"{gigabytes(self._within_host())} for {self._patience_seconds / 60:.0f} minutes. End some of them, "
                "such as replicas of models that nobody uses, and ask again."
            )
