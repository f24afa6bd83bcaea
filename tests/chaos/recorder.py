"""Files of a run: what clients got, and what was done to the platform; one JSON object a line."""

import json
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Recorder:
    """Appends rows with the wall clock's time, which replicas and services write too."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def add(self, what: str, **fields: object) -> None:
        """Write one row."""
        self._file.write(json.dumps({"t": round(time.time(), 4), "what": what, **fields}) + "\n")

    def close(self) -> None:
        self._file.close()


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; a last line that a killed process left half written is left out."""
    rows: list[Row] = []
    with path.open(encoding="utf-8") as file:
        rows.extend(json.loads(line) for line in file if line.endswith("\n"))
    return rows
