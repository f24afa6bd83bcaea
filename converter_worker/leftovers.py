"""What takes space in the model store and beside it although nobody needs it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from converter_worker.hub_cache import TRASH_PREFIX, cached_sources
from shared.errors import VariantCorrupt, VariantNotPublished
from shared.model_store import MANIFEST_NAME, STAGING_NAME, ModelStore
from shared.schemas.models import MANIFEST_SCHEMA
from shared.schemas.store import Leftover, LeftoverKind

#: A folder of the store that changed within this time may be one that somebody copies in by hand.
SETTLE_SECONDS = 600.0
_CONVERSION = "conv_"


@dataclass(frozen=True)
class FoundLeftover:
    """A left-over with where it stands; `is_needed` is asked again right before and after it is taken away.

    `trash` is the folder of the same file system in which it waits for its removal: one that is looked through again.
    """

    item: Leftover
    path: Path
    is_needed: Callable[[], bool]
    trash: Path


@dataclass(frozen=True)
class LeftoverSearch:
    """Finds left-overs; what an unfinished conversion works with is none.

    `is_unfinished` tells it of a conversion's id, `sources_in_use` are the sources that unfinished conversions read,
    and `known_sources` those that conversions fetched: a hub cache may be shared with other programs.
    """

    store: ModelStore
    scratch: Path | None
    hub_cache: Path
    demo_folder: Path
    is_unfinished: Callable[[str], bool]
    sources_in_use: Callable[[], frozenset[str]]
    known_sources: Callable[[], frozenset[str]]
    demo_source: str

    def found(self) -> Iterator[FoundLeftover]:
        """Yield every left-over, and what looks like one and stays."""
        yield from self._staging(self.store.path / STAGING_NAME, prefix="")
        if self.scratch is not None:
            # The scratch folder may be one that others use too.
            yield from self._staging(self.scratch, prefix=_CONVERSION)
        yield from self._folders()
        yield from self._caches()

    def _staging(self, root: Path, *, prefix: str) -> Iterator[FoundLeftover]:
        for path in _children(root):
            if not path.name.startswith((prefix, TRASH_PREFIX)) or self.is_unfinished(path.name):
                continue
            is_conversion = path.name.startswith(_CONVERSION)
            kind: LeftoverKind = "staging" if is_conversion else "trash"
            reason = "its conversion has ended or is unknown" if is_conversion else "removed, but not to its end"
            yield self._leftover(kind, f"{root.name}/{path.name}", path, reason, self._needs(path.name))

    def _needs(self, conversion_id: str) -> Callable[[], bool]:
        return lambda: self.is_unfinished(conversion_id)

    def _folders(self) -> Iterator[FoundLeftover]:
        for model, variant in self.store.names():
            folder, name = self.store.variant_dir(model, variant), f"{model}/{variant}"
            try:
                self.store.manifest(model, variant)
            except VariantNotPublished:
                yield self._orphan(name, folder)
            except VariantCorrupt as error:
                yield self._damaged(name, folder, error.message)

    def _orphan(self, name: str, folder: Path) -> FoundLeftover:
        if _settled(folder):
            return self._leftover("orphan", name, folder, "no variant: it has no manifest.json")
        reason = f"no manifest.json, but changed in the last {SETTLE_SECONDS / 60:.0f} minutes: perhaps being copied"
        return self._leftover("orphan", name, folder, reason, keep=True)

    def _damaged(self, name: str, folder: Path, problem: str) -> FoundLeftover:
        try:
            manifest = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
        except ValueError:
            return self._leftover("damaged", name, folder, "its manifest cannot be read, so nobody can load it")
        except OSError as error:
            # The volume may be away for a moment, and the variant be whole.
            reason = f"its manifest cannot be read now: {error.strerror or error}"
            return self._leftover("damaged", name, folder, reason, keep=True)
        # Renamed or edited by hand, or published by a newer ovchat: its weights may be whole.
        reason = f"{problem} Mend its manifest, or remove its folder by hand."
        if isinstance(manifest, dict) and manifest.get("schema_version") not in (None, MANIFEST_SCHEMA):
            reason = "published by another version of ovchat"
        return self._leftover("damaged", name, folder, reason, keep=True)

    def _caches(self) -> Iterator[FoundLeftover]:
        known, in_use = self.known_sources(), self.sources_in_use()
        for source, path in cached_sources(self.hub_cache):
            if source is None:
                yield self._leftover("trash", f"download {path.name}", path, "removed, but not to its end")
            elif source in known and source not in in_use:
                reason = "no conversion that runs needs it; fetched again where one does"
                yield self._leftover("cache", f"download of {source}", path, reason, self._reads(source))
        for path in _children(self.demo_folder):
            if self.demo_source not in in_use:
                reason = "made again from its package in seconds"
                name = f"checkpoint of {self.demo_source}"
                yield self._leftover("cache", name, path, reason, self._reads(self.demo_source))

    def _reads(self, source: str) -> Callable[[], bool]:
        return lambda: source in self.sources_in_use()

    def _leftover(
        self,
        kind: LeftoverKind,
        name: str,
        path: Path,
        reason: str,
        is_needed: Callable[[], bool] = lambda: False,
        *,
        keep: bool = False,
    ) -> FoundLeftover:
        item = Leftover(
            kind=kind, name=name, size_bytes=size_of(path), reason=reason, state="kept" if keep else "found"
        )
        # A model's own folder is not looked through.
        in_model = kind in ("orphan", "damaged")
        return FoundLeftover(item, path, is_needed, self.store.path / STAGING_NAME if in_model else path.parent)


def size_of(path: Path) -> int:
    """Return the bytes of the files below a path: a file with several links once, links to elsewhere not at all."""
    seen: set[tuple[int, int]] = set()
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = (Path(folder) / name).lstat()
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_size
    return size if path.is_dir() else path.lstat().st_size if path.exists() else 0


def _settled(folder: Path) -> bool:
    newest = max((path.lstat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
    return time.time() - newest > SETTLE_SECONDS


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
