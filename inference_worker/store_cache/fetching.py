"""Fetches the files of one variant: what is there already is kept, and every file is what the manifest says of it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from inference_worker.store_cache.cached_store import sum_bytes
from inference_worker.store_cache.store_client import StoreClient
from shared.errors import StoreUnavailable, VariantCorrupt
from shared.log import get_logger
from shared.schemas.models import FileRecord, Manifest

_log = get_logger(__name__)

#: Between tries that brought nothing; a try that brought something begins anew.
_PAUSES_SECONDS = (0.2, 1.0, 3.0, 6.0)
_LOG_SECONDS = 10.0
_CHUNK_BYTES = 1 << 20


class Interruption(Protocol):
    """What ends a fetch early: a ``threading.Event`` is one."""

    def wait(self, timeout: float | None = None, /) -> bool:
        """Wait for the end, at most so long; tell whether it came."""


class FetchStopped(Exception):
    """The worker ends."""


@dataclass(slots=True)
class _Tally:
    """Bytes of the whole variant that are there."""

    total_bytes: int
    report: Callable[[float], None]
    variant: str
    done_bytes: int = 0
    logged: float = field(default_factory=time.monotonic)

    def add(self, count: int) -> None:
        self.done_bytes += count
        share = self.done_bytes / max(1, self.total_bytes)
        self.report(share)
        if time.monotonic() - self.logged > _LOG_SECONDS:
            self.logged = time.monotonic()
            _log.info("variant_fetching", variant=self.variant, share=round(share, 3), total_bytes=self.total_bytes)


class _Part:
    """As much of one file as is there, with its digest."""

    def __init__(self, file: BinaryIO, size_bytes: int, tally: _Tally) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._tally = tally
        self._digest = hashlib.sha256()
        self.have = 0

    @property
    def is_whole(self) -> bool:
        return self.have == self._size_bytes

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def take_what_is_there(self) -> None:
        if self._file.seek(0, os.SEEK_END) > self._size_bytes:
            self._file.truncate(0)
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._count(chunk)

    def append(self, chunk: bytes) -> None:
        chunk = chunk[: self._size_bytes - self.have]
        self._file.write(chunk)
        self._count(chunk)

    def empty(self) -> None:
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self._tally.add(-self.have)
        self.have = 0

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.have += len(chunk)
        self._tally.add(len(chunk))


class VariantFetch:
    """One fetch of one variant into a folder, which nobody else writes."""

    def __init__(
        self,
        client: StoreClient,
        manifest: Manifest,
        folder: Path,
        *,
        report: Callable[[float], None],
        stop: Interruption,
    ) -> None:
        """`report` is told the share that is there."""
        self._client = client
        self._manifest = manifest
        self._folder = folder
        self._stop = stop
        self._tally = _Tally(sum_bytes(manifest), report, f"{manifest.model}:{manifest.variant}")

    def run(self) -> None:
        """Fetch what is missing; every file is on the disk afterwards.

        Raises:
            VariantCorrupt: a file is another one than the manifest's, fetched twice.
            StoreUnavailable, LoadFailed, VariantNotPublished: the store gives no more.
            FetchStopped: by `stop`.
            OSError: the disk cannot be written.
        """
        for name, record in self._manifest.files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                part = _Part(file, record.size_bytes, self._tally)
                part.take_what_is_there()
                self._fetch(name, part, record)
                file.flush()
                os.fsync(file.fileno())

    def _fetch(self, name: str, part: _Part, record: FileRecord) -> None:
        self._complete(name, part)
        if part.sha256 == record.sha256:
            return
        _log.warning("fetched_file_differs", variant=self._tally.variant, file=name)
        part.empty()
        self._complete(name, part)
        if part.sha256 != record.sha256:
            part.empty()
            raise VariantCorrupt(
                f"{name} of {self._tally.variant} came twice from {self._client.url} with other bytes than its "
                "manifest names. Check the store with `ovchat models verify`, and convert the variant again."
            )

    def _complete(self, name: str, part: _Part) -> None:
        """Bring a file to its size, or to the end that the store's file has."""
        pauses = iter(_PAUSES_SECONDS)
        while not part.is_whole:
            had = part.have
            try:
                self._receive(name, part)
            except StoreUnavailable as error:
                if part.have > had:
                    pauses = iter(_PAUSES_SECONDS)
                pause_seconds = next(pauses, None)
                if pause_seconds is None:
                    raise
                _log.info("fetch_interrupted", variant=self._tally.variant, file=name, reason=error.message)
                self._wait(pause_seconds)
            else:
                return

    def _receive(self, name: str, part: _Part) -> None:
        with self._client.stream(self._manifest.model, self._manifest.variant, name, part.have) as download:
            if download.first_byte != part.have:
                part.empty()
            for chunk in download.chunks:
                part.append(chunk)
                self._wait(0)
                if part.is_whole:
                    return

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise FetchStopped
