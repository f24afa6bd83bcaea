"""A file system of a few megabytes, which a test fills up or makes read only."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Self

import pytest


class SmallDisk:
    """Mounts a file system in memory for the time of a context; skips the test where that is not allowed."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        self._size_mib = size_mib

    def __enter__(self) -> Self:
        self.folder.mkdir()
        if os.geteuid() != 0 or not self._mount(f"size={self._size_mib}m"):
            pytest.skip("this machine does not let us mount a file system")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)

    def make_read_only(self, wanted: bool) -> None:
        """Let the system refuse every write, or none any more."""
        assert self._mount(f"remount,{'ro' if wanted else 'rw'}")

    def fill(self) -> None:
        """Take all the space that is left."""
        with (self.folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(1 << 20)):
                pass

    def empty(self) -> None:
        """Give it back."""
        (self.folder / "filler").unlink()

    def _mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
