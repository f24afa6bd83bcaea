"""The model hub library's own cache of downloads, as it lies on the disk."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_PREFIX = "models--"
#: What stands in the cache under this prefix was on its way out when its remover died.
TRASH_PREFIX = ".ovchat-trash-"


def hub_cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the hub's library keeps what it downloads; it is not asked, since importing it takes a second."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := environment.get(name):
            return Path(folder).expanduser()
    home = environment.get("HF_HOME")
    if home is None:
        caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
        home = f"{caches}/huggingface"
    return Path(home).expanduser() / "hub"


def cached_sources(folder: Path) -> Iterator[tuple[str | None, Path]]:
    """Yield each downloaded model with its folder; None for what is half removed."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return
    for path in found:
        if path.name.startswith(_PREFIX):
            yield path.name.removeprefix(_PREFIX).replace("--", "/"), path
        elif path.name.startswith(TRASH_PREFIX):
            yield None, path
