"""The terminal during an answer: the text on standard output, what is being waited for on standard error."""

from __future__ import annotations

import os
import re
import sys

# A model must not be able to move the cursor, change the title or write to the clipboard of whoever reads it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return the text without control characters; tabs and line ends stay."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


class AnswerScreen:
    """Writes an answer as it comes; a status line stands in its place until then, on a terminal only."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._interactive = sys.stderr.isatty()
        self._status = False
        self._mid_line = False

    def status(self, text: str) -> None:
        """Show what is being waited for, in place of the last such line."""
        if self._interactive and not self._silent:
            sys.stderr.write(f"\r\x1b[K\x1b[2m{printable(text)}\x1b[0m")
            sys.stderr.flush()
            self._status = True

    def clear_status(self) -> None:
        """Take the status line away."""
        if self._status:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._status = False

    def write(self, text: str) -> None:
        """Append a piece of the answer."""
        self.clear_status()
        if not self._silent:
            shown = printable(text)
            sys.stdout.write(shown)
            sys.stdout.flush()
            if shown:
                self._mid_line = not shown.endswith("\n")

    def notice(self, text: str) -> None:
        """Say something on a line of its own on standard error, also in the middle of the answer."""
        self.clear_status()
        if self._mid_line and _is_one_place():
            sys.stderr.write("\n")
            self._mid_line = False
        print(f"({printable(text)})", file=sys.stderr, flush=True)

    def end_line(self) -> None:
        """End a line that was begun, so that what is said next stands on one of its own."""
        self.clear_status()
        if self._mid_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._mid_line = False

    def end(self, note: str | None = None) -> None:
        """End the answer's line; a note says why it is not whole."""
        self.clear_status()
        if not self._silent:
            sys.stdout.write("\n")
            sys.stdout.flush()
        if note is not None:
            print(f"({note})", file=sys.stderr)


def _is_one_place() -> bool:
    """Whether both standard streams end in the same terminal, file or pipe."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):
        return False
