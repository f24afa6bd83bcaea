"""What a stage's child prints, line by line: bounded, without secrets, for those who watch the job."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from converter_worker.redaction import without_secrets

#: Of one stage, the first lines are told as they come, and the last when it ends; those between are only counted.
FIRST_LINES, LAST_LINES = 200, 50
LINE_CHARACTERS = 300
#: Lines are gathered for so long, and so many make one event.
PAUSE_SECONDS = 0.5
LINES_OF_EVENT = 40
_READ_BYTES = 256 << 10

#: Colours and cursor movements of a terminal.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class ChildLog:
    """Reads a growing file from where it ends now; `tell` gets lines in order."""

    def __init__(
        self,
        file: Path,
        tell: Callable[[tuple[str, ...]], None],
        *,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._tell = tell
        self._secrets = tuple(secret for secret in secrets if secret)
        self._clock = clock
        self._offset = file.stat().st_size if file.exists() else 0
        self._rest = b""
        self._waiting: list[str] = []
        self._told = 0
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._left_out = 0
        self._looked_at = clock()

    def look(self) -> None:
        """Tell what is new, but not more often than the pause."""
        if self._clock() - self._looked_at < PAUSE_SECONDS:
            return
        self._looked_at = self._clock()
        self._read(to_the_end=False)
        self._flush()

    def finish(self) -> None:
        """Tell what is left, and how many lines were left out; called once, when the child has ended."""
        self._read(to_the_end=True)
        if self._left_out > len(self._last):
            self._waiting.append(f"… {self._left_out - len(self._last)} lines left out …")
        self._waiting += self._last
        self._flush()

    def _read(self, *, to_the_end: bool) -> None:
        if not self._file.exists():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._offset)
            while part := stream.read(_READ_BYTES):
                self._offset += len(part)
                *whole, self._rest = (self._rest + part).split(b"\n")
                for line in whole:
                    self._take(line)
                if len(self._rest) > _READ_BYTES:
                    self._take(self._rest)
                    self._rest = b""
                if not to_the_end:
                    break
        if to_the_end and self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, raw: bytes) -> None:
        # Of a line that a progress bar has written again and again, the last state counts.
        text = without_secrets(raw.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2], self._secrets)
        text = _CONTROL.sub("", text).rstrip()
        if not text:
            return
        if len(text) > LINE_CHARACTERS:
            text = text[: LINE_CHARACTERS - 1] + "…"
        if self._told < FIRST_LINES:
            self._told += 1
            self._waiting.append(text)
        else:
            self._left_out += 1
            self._last.append(text)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), LINES_OF_EVENT):
            self._tell(tuple(waiting[first : first + LINES_OF_EVENT]))
