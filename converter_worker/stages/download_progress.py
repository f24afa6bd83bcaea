"""How many bytes of a download have come: read from the hub library's cache, whichever way it fetches them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from converter_worker.periodic_thread import PeriodicThread
from converter_worker.size_text import gigabytes
from converter_worker.stages.contract import ReportProgress

#: How often the cache is looked at.
PERIOD_SECONDS = 0.5


class DownloadProgress:
    """Counts the bytes of a snapshot, and reports them from a thread of its own while it is fetched.

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
        self._most_bytes = 0

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

    def reporting(self) -> AbstractContextManager[object]:
        """Return the context in which the snapshot is to be fetched."""
        if not self._is_known or not self._sizes:
            return nullcontext()
        return PeriodicThread("download-progress", PERIOD_SECONDS, self._tell)

    def _tell(self) -> bool:
        # A file that changes from part to whole between two looks must not take the progress back.
        self._most_bytes = max(self._most_bytes, self.present_bytes())
        text = f"downloading: {gigabytes(self._most_bytes)} of {gigabytes(self.total_bytes)}"
        self._report(self._most_bytes / max(1, self.total_bytes), text)
        return True
