"""Frees what the search for left-overs finds, and never what a conversion has begun to use meanwhile."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from converter_worker.hub_cache import TRASH_PREFIX
from converter_worker.leftovers import FoundLeftover
from shared.ids import new_id
from shared.log import get_logger
from shared.model_store import MANIFEST_NAME
from shared.schemas.store import Leftover

log = get_logger(__name__)

#: How often a removal is begun: the conversion that a folder was of may still be clearing it away.
_REMOVALS = 20


def collect(found: Iterable[FoundLeftover]) -> Iterator[Leftover]:
    """Remove each left-over and yield what became of it.

    A left-over is first renamed and its need asked for again: a conversion that was accepted in between finds its
    files back, or fetches them anew, and never reads from a folder that is half removed.
    """
    for leftover in found:
        outcome = leftover.item if leftover.item.state == "kept" else _free(leftover)
        log.info("leftover_collected", name=outcome.name, state=outcome.state, size_bytes=outcome.size_bytes)
        yield outcome


def _free(leftover: FoundLeftover) -> Leftover:
    if leftover.is_needed():
        return _kept(leftover, "a conversion has begun to use it")
    trash = leftover.trash / f"{TRASH_PREFIX}{new_id('gone')}"
    try:
        leftover.trash.mkdir(exist_ok=True)
        leftover.path.rename(trash)
    except FileNotFoundError:
        return _kept(leftover, "it is gone already")
    except OSError as error:
        return _kept(leftover, f"it cannot be removed: {error.strerror or error}")
    # What was no variant when it was found may have made room for one since.
    is_published = leftover.item.kind == "orphan" and (trash / MANIFEST_NAME).is_file()
    if is_published or leftover.is_needed():
        return _given_back(leftover, trash)
    if problem := _remove(trash):
        return _kept(leftover, f"only a part of it could be removed: {problem}")
    if leftover.item.kind in ("orphan", "damaged"):
        _remove_empty(leftover.path.parent)
    return leftover.item.model_copy(update={"state": "freed"})


def _given_back(leftover: FoundLeftover, trash: Path) -> Leftover:
    try:
        trash.rename(leftover.path)
    except OSError:
        # The conversion has begun to fetch it anew.
        _remove(trash)
        return leftover.item.model_copy(update={"state": "freed"})
    return _kept(leftover, "a conversion has begun to use it")


def _remove(path: Path) -> str:
    """Remove a file or a folder, which somebody else may be removing too; return why something is left."""
    problem = ""
    for _ in range(_REMOVALS):
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except FileNotFoundError:
            # Not the whole, if it was something inside that went while it was walked through.
            if not path.exists():
                return ""
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            return ""
    return problem or "it is being removed by somebody else"


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # The model has other variants.
        return


def _kept(leftover: FoundLeftover, reason: str) -> Leftover:
    return leftover.item.model_copy(update={"state": "kept", "reason": reason})
