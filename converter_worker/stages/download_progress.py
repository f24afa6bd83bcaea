"""How many bytes of a download have come: read from the hub library's cache, whichever way it fetches them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from converter_worker.size_text import gigabytes
from converter_worker.stages.contract import ReportProgress

#: How often the cache is looked at.
PERIOD_SECONDS = 0.5


class DownloadProgress:
    """Reports from a thread of its own while a snapshot is fetched.

    Args:
        repository: the model's folder in the cache.
        revision: the commit that is fetched.
        sizes: bytes of each wanted file by its name; where one is not known nothing is reported.
    """

    def __init__(
        self, repository: Path, revision: str, sizes: Mapping[str, int | None], report: ReportProgress
    ) -> None:
        self._repository = repository
        self._snapshot = repository / "snapshots" / revision
        self._sizes = {name: size for name, size in sizes.items() if size is not None}
        self._is_known = len(self._sizes) == len(sizes)
        self._report = report
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download-progress", daemon=True)

    @property
    def total_bytes(self) -> int:
        """Bytes of all wanted files."""
        return sum(self._sizes.values())

    def present_bytes(self) -> int:
        """Return how many of them are here."""
        whole = sum(size for name, size in self._sizes.items() if (self._snapshot / name).exists())
        parts = 0
        for part in self._repository.glob("blobs/*.incomplete"):
            try:
                parts += part.stat().st_size
            except FileNotFoundError:
                # It has just become whole; the next look counts it.
                continue
        return min(whole + parts, self.total_bytes)

    def __enter__(self) -> "DownloadProgress":
        if self._is_known and self._sizes:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        most = 0
        while not self._stopped.wait(PERIOD_SECONDS):
            # A file that changes from part to whole between two looks must not take the progress back.
            most = max(most, self.present_bytes())
            text = f"downloading: {gigabytes(most)} of {gigabytes(self.total_bytes)}"
            self._report(most / max(1, self.total_bytes), text)
