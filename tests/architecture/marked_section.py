"""A part of a document that is written from the code, between two markers."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MarkedSection:
    """What stands in `document` between the lines `begin` and `end`."""

    document: Path
    begin: str
    end: str

    def read(self) -> str:
        """Return what stands there now, without blank lines around it."""
        return self.document.read_text(encoding="utf-8").partition(self.begin)[2].partition(self.end)[0].strip()

    def write(self, text: str) -> None:
        """Put a text there.

        Raises:
            SystemExit: the document has no markers.
        """
        before, begin, rest = self.document.read_text(encoding="utf-8").partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise SystemExit(f"{self.document} has no markers {self.begin} and {self.end}")
        self.document.write_text(f"{before}{self.begin}\n{text}\n{self.end}{after}", encoding="utf-8")
