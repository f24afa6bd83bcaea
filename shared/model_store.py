"""The model store: ``<store>/<model>/<variant>/`` with its manifest, published by one rename.

A variant is a folder with a valid ``manifest.json``, which is written last; anything else is not listed. Work in
progress stands under ``<store>/.staging/`` on the same file system, so that the rename is atomic.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from shared.errors import DiskFull, StoreUnwritable, VariantCorrupt, VariantExists, VariantNotPublished
from shared.ids import is_name, new_id
from shared.removal import remove_folder
from shared.schemas.models import FileRecord, Manifest
from shared.schemas.quality import QualityCard

MANIFEST_NAME = "manifest.json"
STAGING_NAME = ".staging"
_CHUNK_BYTES = 1 << 20


def file_record(path: Path, watch: Callable[[], None] = lambda: None) -> FileRecord:
    """Return size and SHA-256 of a file; `watch` is called now and then and may raise to break off."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            watch()
    return FileRecord(size_bytes=path.stat().st_size, sha256=digest.hexdigest())


def write_error(error: OSError, folder: Path) -> DiskFull | StoreUnwritable:
    """Return the platform's error for a failed write below a folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"No space left on the disk of {folder}. Free some space and convert again.")
    return StoreUnwritable(
        f"Cannot write to {folder}: {error.strerror or error}. Check the volume and its permissions."
    )


def _files_in(folder: Path) -> set[str]:
    """Return the paths of a variant's files in its folder; what NFS keeps of a replaced file is none."""
    files = (path for path in folder.rglob("*") if not path.is_dir() and not path.name.startswith(".nfs"))
    return {str(path.relative_to(folder)) for path in files} - {MANIFEST_NAME}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ModelStore:
    """One folder of published variants. Readers may have it mounted read only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_in_use(self) -> bool:
        """Whether a converter ever wrote here; an empty folder may be where a volume is to be mounted."""
        return (self.path / STAGING_NAME).is_dir()

    def variant_dir(self, model: str, variant: str) -> Path:
        """Return where a variant stands; names are checked, so that no path leads out of the store."""
        if not is_name(model) or not is_name(variant):
            raise VariantNotPublished(f"{model}:{variant} is no valid name of a variant.")
        return self.path / model / variant

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield model and variant of every folder that stands where a variant would, published or not, by name."""
        if not self.path.is_dir():
            return
        for model_dir in sorted(self.path.iterdir()):
            if not is_name(model_dir.name) or not model_dir.is_dir():
                continue
            for variant_dir in sorted(model_dir.iterdir()):
                if is_name(variant_dir.name):
                    yield model_dir.name, variant_dir.name

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifest of every published variant, by name; what is half made or damaged is left out."""
        for model, variant in self.names():
            try:
                yield self.manifest(model, variant)
            except (VariantNotPublished, VariantCorrupt):
                continue

    def manifest(self, model: str, variant: str) -> Manifest:
        """Return a variant's manifest.

        Raises:
            VariantNotPublished: there is none.
            VariantCorrupt: it cannot be read, or is that of another variant.
        """
        folder = self.variant_dir(model, variant)
        try:
            # What a newer ovchat added is kept: its recipe is not that of a variant without it.
            manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes(), extra="allow")
        except (FileNotFoundError, NotADirectoryError):
            raise VariantNotPublished(f"{model}:{variant} is not published in the model store.") from None
        except (OSError, ValidationError) as error:
            raise VariantCorrupt(f"The manifest of {model}:{variant} cannot be read. Convert it again.") from error
        if (manifest.model, manifest.variant) != (model, variant):
            raise VariantCorrupt(f"The folder {model}/{variant} holds {manifest.model}:{manifest.variant}.")
        return manifest

    def read_file(self, model: str, variant: str, name: str) -> bytes | None:
        """Return a small file of a variant; None where it has none of this name."""
        try:
            return (self.variant_dir(model, variant) / name).read_bytes()
        except FileNotFoundError:
            return None

    def check(self, model: str, variant: str, *, hashes: bool = False) -> Manifest:
        """Compare a variant's files with its manifest: their sizes, and where asked their SHA-256 and number.

        Raises:
            VariantNotPublished: there is none.
            VariantCorrupt: a file is missing, differs or was added; the message names it.
        """
        manifest = self.manifest(model, variant)
        folder = self.variant_dir(model, variant)
        for name, record in manifest.files.items():
            try:
                size_bytes = (folder / name).stat().st_size
                differs = size_bytes != record.size_bytes or (hashes and file_record(folder / name) != record)
            except OSError:
                raise VariantCorrupt(
                    f"{model}:{variant} is incomplete: {name} is missing. Delete the variant and convert it again."
                ) from None
            if differs:
                raise VariantCorrupt(
                    f"{model}:{variant} is damaged: {name} is not the file that was published "
                    f"({size_bytes} bytes, {record.size_bytes} published). Delete the variant and convert it again."
                )
        if hashes and (added := _files_in(folder) - manifest.files.keys()):
            # Such as a chat template, which would be taken in the place of the one that was published.
            raise VariantCorrupt(
                f"{model}:{variant} has files that were not published: {', '.join(sorted(added)[:3])}. "
                "Remove them, or delete the variant and convert it again."
            )
        return manifest

    def staging_dir(self, conversion_id: str) -> Path:
        """Return the folder in which a conversion works; it is made if missing."""
        folder = self.path / STAGING_NAME / conversion_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, self.path) from error
        return folder

    def clean_staging(self, keep: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove the staging folders whose name ``keep`` does not want; return their names."""
        root = self.path / STAGING_NAME
        if not root.is_dir():
            return ()
        gone = tuple(folder.name for folder in sorted(root.iterdir()) if not keep(folder.name))
        for name in gone:
            remove_folder(root / name)
        return gone

    def publish(self, staged: Path, manifest: Manifest, watch: Callable[[], None] = lambda: None) -> Manifest:
        """Make a staged folder the published variant: hash, sync, manifest last, rename.

        Publishing the same variant again (a task delivered twice) does nothing and returns what is published.

        Args:
            staged: folder of the variant's files, below the staging folder of this store.
            manifest: its ``files`` are filled here.
            watch: called now and then until the variant is published; may raise to break off.

        Raises:
            VariantExists: another recipe or source is published under this name, or what this ovchat cannot read.
            DiskFull, StoreUnwritable: nothing was published.
        """
        target = self.variant_dir(manifest.model, manifest.variant)
        try:
            published = self.manifest(manifest.model, manifest.variant)
        except (VariantNotPublished, VariantCorrupt):
            published = None
        if published is not None:
            return self._same_or_refused(published, manifest)
        try:
            for unfinished in staged.glob(f".{MANIFEST_NAME}.*"):
                unfinished.unlink()
            files = sorted(path for path in staged.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
            complete = manifest.model_copy(
                update={"files": {str(path.relative_to(staged)): file_record(path, watch) for path in files}}
            )
            for path in files:
                _fsync(path)
                watch()
            # Under a name of its own first: a converter that stood still in the midst of this and comes back would else
            # write into the folder that another one has published meanwhile.
            part = staged / f".{MANIFEST_NAME}.{new_id('part')}"
            part.write_text(complete.model_dump_json(indent=2) + "\n", "utf-8")
            _fsync(part)
            part.replace(staged / MANIFEST_NAME)
            _fsync(staged)
            watch()
            self._place(staged, target)
        except OSError as error:
            # Somebody else was quicker: the name is taken, or the staged folder is what has it now.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                with contextlib.suppress(VariantNotPublished):
                    return self._same_or_refused(self.manifest(manifest.model, manifest.variant), manifest)
            raise write_error(error, self.path) from error
        return complete

    def set_quality(self, manifest: Manifest, quality: QualityCard | None, problem: str | None) -> Manifest:
        """Put what was measured of a published variant into its manifest, which is replaced at once or not at all.

        Nothing else of a variant ever changes.

        Raises:
            VariantNotPublished: this very variant is gone, though another one may have its name.
            DiskFull, StoreUnwritable: nothing was changed.
        """
        gone = VariantNotPublished(f"{manifest.model}:{manifest.variant} was deleted.")
        try:
            folder = os.open(self.variant_dir(manifest.model, manifest.variant), os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise gone from None
        staging = self.staging_dir(new_id("quality"))
        try:
            # By the folder's descriptor: one that is deleted meanwhile takes the card with it, and one that is
            # published in its place does not get it.
            with open(MANIFEST_NAME, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=folder)) as file:
                present = Manifest.model_validate_json(file.read())
            if (present.created_at, present.files) != (manifest.created_at, manifest.files):
                raise gone
            changed = present.model_copy(update={"quality": quality, "quality_problem": problem})
            part = staging / MANIFEST_NAME
            part.write_text(changed.model_dump_json(indent=2) + "\n", "utf-8")
            part.chmod(0o644)
            _fsync(part)
            os.replace(part, MANIFEST_NAME, dst_dir_fd=folder)
            os.fsync(folder)
        except FileNotFoundError:
            raise gone from None
        except OSError as error:
            raise write_error(error, self.path) from error
        finally:
            os.close(folder)
            shutil.rmtree(staging, ignore_errors=True)
        return changed

    def delete(self, model: str, variant: str) -> None:
        """Remove a variant: out of sight by one rename, then from the disk.

        Raises:
            VariantNotPublished: there is no such folder.
        """
        folder = self.variant_dir(model, variant)
        try:
            self._move_to_trash(folder)
            folder.parent.rmdir()
        except FileNotFoundError:
            raise VariantNotPublished(f"{model}:{variant} is not published in the model store.") from None
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise write_error(error, self.path) from error

    def _place(self, staged: Path, target: Path) -> None:
        """Give a whole variant its name; a folder without a manifest that has the name goes out of the way."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.rename(target)
        except OSError as error:
            # Only now is the other one looked at: what is found before the rename may be published in between.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or self._is_whole(target):
                raise
            self._move_to_trash(target)
            staged.rename(target)
        _fsync(target.parent)

    def _is_whole(self, folder: Path) -> bool:
        """Tell whether a folder holds a variant.

        Raises:
            VariantExists: it has a manifest of a newer ovchat, or one that somebody changed; it may be served.
            OSError: it cannot be told now.
        """
        model, variant = folder.parent.name, folder.name
        try:
            self.manifest(model, variant)
        except VariantNotPublished:
            return False
        except VariantCorrupt as error:
            try:
                if not isinstance(json.loads((folder / MANIFEST_NAME).read_bytes()), dict):
                    return False
            except ValueError:
                return False
            raise VariantExists(
                f"The folder {model}/{variant} of the model store has a manifest that this ovchat cannot read: "
                "published by a newer one, or changed by hand. Choose another variant name, or remove the folder.",
                param="variants",
            ) from error
        return True

    def _move_to_trash(self, folder: Path) -> None:
        trash = self.path / STAGING_NAME / new_id("trash")
        trash.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(trash)
        if trash.is_dir():
            shutil.rmtree(trash, ignore_errors=True)
        else:
            trash.unlink(missing_ok=True)

    def _same_or_refused(self, published: Manifest, wanted: Manifest) -> Manifest:
        for field in ("source_model", "revision", "weight_format", "recipe"):
            if getattr(published, field) != getattr(wanted, field):
                raise VariantExists(
                    f"{wanted.model}:{wanted.variant} is published with another {field.replace('_', ' ')}. "
                    "Choose another variant name, or delete the published one first.",
                    param="variants",
                )
        return published
