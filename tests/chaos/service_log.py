"""Reads a service's log while it is written: the platform's own account of what it noticed and when."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ServiceLog:
    """Follows one file of JSON lines; lines of another form are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the events that came since the last reading, each with its wall clock time as ``t``."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    event = json.loads(line)
                    event["t"] = datetime.datetime.fromisoformat(event["timestamp"]).timestamp()
                except (ValueError, KeyError, TypeError):
                    continue
                yield event
