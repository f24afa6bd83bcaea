"""The text sides of the variants that were loaded lately."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from inference_worker.text.variant_text import VariantText


class TextShelf:
    """Keeps what was read: a tokenizer that is built anew at each load leaves the memory of the agent in pieces.

    A variant never changes; one that was deleted and made again has another stamp. Safe to call from any thread.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._texts: OrderedDict[tuple[Path, str], VariantText] = OrderedDict()
        self._lock = Lock()

    def text(self, folder: Path, stamp: str) -> VariantText:
        """Return the text side of a variant's folder. Raises VariantCorrupt."""
        with self._lock:
            found = self._texts.pop((folder, stamp), None) or VariantText.from_folder(folder)
            self._texts[folder, stamp] = found
            while len(self._texts) > self._places:
                self._texts.popitem(last=False)
            return found
