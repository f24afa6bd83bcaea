"""The folder of a cache: what is whole in it, what is half fetched, and what the store says of it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from inference_worker.store_cache.locks import CacheLock
from inference_worker.store_cache.store_client import StoreClient
from shared.errors import LoadFailed, PlatformError, StoreUnavailable, VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import MANIFEST_NAME, STAGING_NAME, ModelStore
from shared.schemas.models import Manifest

_log = get_logger(__name__)

#: Name of the manifest in a folder that is being filled; with its real name the folder is whole.
_PROMISED_NAME = f".{MANIFEST_NAME}"
_SEPARATOR = "@"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A variant in the cache, whole or half fetched, and the bytes that it takes or will take."""

    model: str
    variant: str
    size_bytes: int

    @property
    def lock_name(self) -> str:
        """Name of its lock file."""
        return lock_name(self.model, self.variant)


def lock_name(model: str, variant: str) -> str:
    """Return the name of a variant's lock file and of the folder that it is fetched into; no name has the separator."""
    return f"{model}{_SEPARATOR}{variant}"


class CachedStore(ModelStore):
    """The `store` service's variants, by their manifests; the files of some are in this folder.

    A manifest is the service's answer. Where it does not answer, what was fetched before goes on being served.
    """

    def __init__(self, path: Path, client: StoreClient) -> None:
        super().__init__(path)
        self.client = client
        self.fetched = ModelStore(path)
        self._is_away = False

    def manifest(self, model: str, variant: str) -> Manifest:
        """Return a published variant's manifest; one that is published no more is dropped from the cache.

        Raises:
            VariantNotPublished: the store has no such variant.
            VariantCorrupt: its manifest cannot be read.
            StoreUnavailable, LoadFailed: the store cannot be asked, and the cache has nothing of the variant.
        """
        self.variant_dir(model, variant)
        try:
            raw = self.client.read(model, variant, MANIFEST_NAME)
        except VariantNotPublished:
            self.drop(model, variant)
            raise VariantNotPublished(f"{model}:{variant} is not published in the model store.") from None
        except (StoreUnavailable, LoadFailed) as error:
            self._tell(error)
            try:
                return self.fetched.manifest(model, variant)
            except (VariantNotPublished, VariantCorrupt):
                raise error from None
        self._tell(None)
        return _read_manifest(raw, model, variant)

    def read_file(self, model: str, variant: str, name: str) -> bytes | None:
        """Return a small file of a variant, from the cache or the store; None where it has no such file."""
        try:
            self.fetched.manifest(model, variant)
        except (VariantNotPublished, VariantCorrupt):
            record = self.manifest(model, variant).files.get(name)
            if record is None:
                return None
            raw = self.client.read(model, variant, name)
            if hashlib.sha256(raw).hexdigest() != record.sha256:
                raise VariantCorrupt(f"{name} of {model}:{variant} is not the file that its manifest names.") from None
            return raw
        return self.fetched.read_file(model, variant, name)

    def has(self, manifest: Manifest) -> bool:
        """Tell whether the files of this very publication are in the cache, whole."""
        try:
            present = self.fetched.check(manifest.model, manifest.variant)
        except (VariantNotPublished, VariantCorrupt):
            return False
        return is_same(present, manifest)

    def entries(self) -> tuple[CacheEntry, ...]:
        """Return what takes room, with what half-fetched variants will take when they are whole."""
        sizes = {(model, variant): folder_bytes(self.variant_dir(model, variant)) for model, variant in self.names()}
        for folder in (self.path / STAGING_NAME).glob(f"*{_SEPARATOR}*"):
            model, _, variant = folder.name.partition(_SEPARATOR)
            promised = self.promised(model, variant)
            size_bytes = max(folder_bytes(folder), sum_bytes(promised) if promised else 0)
            sizes[model, variant] = sizes.get((model, variant), 0) + size_bytes
        return tuple(CacheEntry(model, variant, size_bytes) for (model, variant), size_bytes in sizes.items())

    def partial_dir(self, model: str, variant: str) -> Path:
        """Return the folder that a variant is fetched into; its name lets a later start go on."""
        return self.path / STAGING_NAME / lock_name(model, variant)

    def promised(self, model: str, variant: str) -> Manifest | None:
        """Return what is being fetched into the partial folder."""
        try:
            return _read_manifest((self.partial_dir(model, variant) / _PROMISED_NAME).read_bytes(), model, variant)
        except (OSError, VariantCorrupt):
            return None

    def begin(self, manifest: Manifest) -> Path:
        """Return the partial folder of a publication; what it had of another one is removed."""
        folder = self.partial_dir(manifest.model, manifest.variant)
        promised = self.promised(manifest.model, manifest.variant)
        if promised is None or not is_same(promised, manifest):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROMISED_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        return folder

    def finish(self, manifest: Manifest) -> None:
        """Give a partial folder whose files are all there its place. Raises OSError."""
        folder = self.partial_dir(manifest.model, manifest.variant)
        (folder / _PROMISED_NAME).rename(folder / MANIFEST_NAME)
        self._place(folder, self.variant_dir(manifest.model, manifest.variant))

    def drop(self, model: str, variant: str) -> None:
        """Remove a variant from the cache unless somebody uses or fetches it; a later look finds it again."""
        if not (self.variant_dir(model, variant).exists() or self.partial_dir(model, variant).exists()):
            return
        with CacheLock(self.path, lock_name(model, variant)) as lock:
            if lock.try_alone():
                self.remove(model, variant)
                _log.info("cached_variant_dropped", variant=f"{model}:{variant}", reason="not published")

    def remove(self, model: str, variant: str) -> None:
        """Remove a variant from the cache, whole or half fetched; the caller has its lock alone."""
        shutil.rmtree(self.partial_dir(model, variant), ignore_errors=True)
        try:
            self.fetched.delete(model, variant)
        except VariantNotPublished:
            return

    def _tell(self, error: PlatformError | None) -> None:
        """Log the first failure of a series, and its end."""
        if error is not None and not self._is_away:
            _log.warning("store_away", code=error.code, reason=error.message)
        elif error is None and self._is_away:
            _log.info("store_back", url=self.client.url)
        self._is_away = error is not None


def is_same(one: Manifest, other: Manifest) -> bool:
    """Tell whether two manifests are of one publication: only its quality card may have come later."""
    return (one.created_at, one.files) == (other.created_at, other.files)


def sum_bytes(manifest: Manifest) -> int:
    """Return the bytes of all files of a variant."""
    return sum(record.size_bytes for record in manifest.files.values())


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; what goes away meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _read_manifest(raw: bytes, model: str, variant: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise VariantCorrupt(f"The manifest of {model}:{variant} cannot be read. Convert it again.") from error
    names = (Path(name) for name in manifest.files)
    if (manifest.model, manifest.variant) != (model, variant) or any(p.is_absolute() or ".." in p.parts for p in names):
        raise VariantCorrupt(f"The manifest of {model}:{variant} is not that of this variant. Convert it again.")
    return manifest
