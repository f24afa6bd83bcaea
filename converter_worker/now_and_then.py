"""Work that is due every minute or so, for a thread that comes by more often."""

import time
from collections.abc import Callable


class NowAndThen:
    """Does something when the last time is a while ago; the first time a period after it was made."""

    def __init__(
        self, action: Callable[[], object], period_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._action = action
        self._period_seconds = period_seconds
        self._clock = clock
        self._done_at = clock()

    def do_if_due(self) -> None:
        """Do it if it is due; one that fails counts, and comes again a period later."""
        if self._clock() - self._done_at >= self._period_seconds:
            self._done_at = self._clock()
            self._action()
