"""How ``ovchat`` is called from where the reader stands."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def ovchat(arguments: str) -> str:
    """Return a command line that works as it is printed.

    It is ``ovchat …`` where the shell finds that very program, else the path of this environment's own, relative to the
    current folder where it is below.
    """
    own = Path(sys.executable).parent / "ovchat"
    found = shutil.which("ovchat")
    if not own.exists() or (found is not None and own.samefile(found)):
        return f"ovchat {arguments}"
    folder = Path.cwd()
    return f"{own.relative_to(folder) if own.is_relative_to(folder) else own} {arguments}"
