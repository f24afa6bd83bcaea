"""The logs of the services: a new file per start and per 50 MB, the last few kept, and what went wrong last."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

#: Earlier logs of a service that are kept, as ``name.log.1`` (the newest) and so on.
_KEPT = 5
#: A log that has grown longer is moved aside while its service runs.
LONGEST_BYTES = 50_000_000
_TAIL_BYTES = 64 * 1024


def rotate(path: Path) -> None:
    """Move the log of the last start aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_place(path)
    if path.exists():
        path.replace(_earlier(path, 1))


def shorten(path: Path, *, longest_bytes: int = LONGEST_BYTES) -> None:
    """Move what a service has logged aside where that is too long; the service goes on at the file's beginning.

    It keeps the file open, so the file is copied and emptied. A line that is written between the two is lost.

    Raises:
        OSError: there is no room for the copy, or the file cannot be written.
    """
    if not path.exists() or path.stat().st_size <= longest_bytes:
        return
    _make_place(path)
    shutil.copyfile(path, _earlier(path, 1))
    os.truncate(path, 0)


def _make_place(path: Path) -> None:
    """Move each earlier log one place further; the oldest one makes way."""
    for number in range(_KEPT - 1, 0, -1):
        if _earlier(path, number).exists():
            _earlier(path, number).replace(_earlier(path, number + 1))


def _earlier(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def last_words(path: Path) -> str:
    """Return the last error that a service logged, else its last plain line, in one line; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    for line in reversed(lines[-50:]):
        if (error := _logged_error(line)) is not None:
            return error
    # A structured line that is no error says nothing of the end; a traceback's last line does.
    return "" if not lines or lines[-1].startswith("{") else lines[-1][:500]


def _logged_error(line: str) -> str | None:
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or entry.get("level") not in ("error", "critical"):
        return None
    cause = str(entry.get("error") or entry.get("exception") or "").strip().splitlines()
    return ": ".join(part for part in (str(entry.get("event", "")), cause[-1] if cause else "") if part)[:500]
