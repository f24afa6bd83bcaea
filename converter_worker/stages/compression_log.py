"""What nncf says in its log and nowhere else: which part of a recipe it skipped."""

import contextlib
import logging
from collections.abc import Iterator

#: A part of the line, and what it means to whoever asked for the recipe.
_MEANINGS = {
    "No matching patterns were found for applying AWQ": "AWQ found no layers that it could scale and was skipped.",
}


@contextlib.contextmanager
def heard_notes() -> Iterator[list[str]]:
    """Give the notes that are heard while the context lasts."""
    notes: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            notes.extend(note for part, note in _MEANINGS.items() if part in message and note not in notes)

    listener, logger = Listener(level=logging.INFO), logging.getLogger("nncf")
    logger.addHandler(listener)
    try:
        yield notes
    finally:
        logger.removeHandler(listener)
