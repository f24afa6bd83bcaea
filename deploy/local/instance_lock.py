"""One launcher per data folder: two would run two Redis servers on one append-only file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import Conflict, PlatformError, StoreUnwritable


class InstanceLock:
    """``with InstanceLock(data_dir): …``; the kernel releases it with the process, however that ends.

    Raises:
        StoreUnwritable: on entering, the folder cannot be made or written.
        Conflict: on entering, another launcher has it; the message names its process.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        path = self._data_dir / "up.lock"
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnwritable(
                f"the data folder {self._data_dir} cannot be written: {error.strerror}; OVCHAT_DATA_DIR names another"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._taken(path) from error
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _taken(self, path: Path) -> PlatformError:
        owner = path.read_text("utf-8").strip()
        self.__exit__(None, None, None)
        return Conflict(
            f"another ovchat (process {owner or 'unknown'}) uses the data folder {self._data_dir}; "
            "stop it, or set OVCHAT_DATA_DIR and OVCHAT_PORT for a second platform"
        )
