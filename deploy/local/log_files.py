"""The logs of the services: a new file per start, the last few kept, and what went wrong last."""

from __future__ import annotations

import json
from pathlib import Path

#: Earlier logs of a service that are kept, as ``name.log.1`` (the newest) and so on.
_KEPT = 5
_TAIL_BYTES = 64 * 1024


def rotate(path: Path) -> None:
    """Move the log of the last start aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(_KEPT, 0, -1):
        older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))


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
