"""Liveness of a converter: it leaves a sign in its data folder, which `python -m converter_worker.health` looks at."""

import socket
import sys
import time
from pathlib import Path

from shared.settings import ConverterSettings

#: A sign older than this means that the worker hangs, or that Redis is away.
MAX_AGE_SECONDS = 30.0


def beat(data_dir: Path) -> None:
    """Leave a sign of life."""
    file = _file(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def is_alive(data_dir: Path) -> bool:
    """Tell whether the worker of this host has left a sign lately."""
    try:
        return time.time() - _file(data_dir).stat().st_mtime < MAX_AGE_SECONDS
    except FileNotFoundError:
        return False


def _file(data_dir: Path) -> Path:
    # Replicas of the service may share the folder; a container's host name is its own.
    return data_dir / f"converter-{socket.gethostname()}.alive"


if __name__ == "__main__":
    sys.exit(0 if is_alive(ConverterSettings().data_dir) else 1)
