"""Removing a folder that somebody may come back to."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path

#: What a folder's name ends with while it is removed.
GONE_SUFFIX = ".gone"


def remove_folder(folder: Path) -> None:
    """Remove a folder, out of sight by one rename first; nothing happens where nothing is.

    A converter that comes back late finds it whole or not at all: it must not give its final name to what is half
    removed, nor publish it.
    """
    gone = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{GONE_SUFFIX}")
    with contextlib.suppress(OSError):
        folder = folder.rename(gone)
    shutil.rmtree(folder, ignore_errors=True)
