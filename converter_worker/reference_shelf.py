"""The models that variants are compared with: a published FP16 variant, else the base IR of the job that made them.

A job that makes no FP16 variant leaves its base IR on the shelf (hard links where the file system has them), until the
cards of all its variants are made.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from converter_worker.linked_files import link_or_copy
from converter_worker.quality_folders import REFERENCE_PREFIX, is_reference
from shared.ids import new_id
from shared.model_store import STAGING_NAME, ModelStore
from shared.schemas.models import Manifest

_LABEL_NAME = "label.json"


class Label(BaseModel):
    """Whose base IR it is."""

    model_config = ConfigDict(frozen=True)

    model: str
    source_model: str
    revision: str | None

    @classmethod
    def of(cls, manifest: Manifest) -> "Label":
        """Return the label that a variant's reference has."""
        return cls(model=manifest.model, source_model=manifest.source_model, revision=manifest.revision)


class ReferenceShelf:
    """Below the store's staging folder."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._root = store.path / STAGING_NAME

    def put(self, label: Label, base: Path, staging: Path) -> None:
        """Keep the files of a base IR; nothing happens where one of this label is kept already.

        `staging` is a folder of the same file system, in which they are put together.
        """
        if any(kept == label for _, kept in self._kept()):
            return
        part = staging / "reference"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for file in base.iterdir():
            if file.is_file():
                link_or_copy(file, part / file.name)
        (part / _LABEL_NAME).write_text(label.model_dump_json(), "utf-8")
        part.rename(self._root / new_id(REFERENCE_PREFIX.rstrip("_")))

    def find(self, manifest: Manifest, published: Sequence[Manifest]) -> Path | None:
        """Return the folder of the IR that a variant is to be compared with; itself for FP16, None where none is."""
        label = Label.of(manifest)
        for other in (manifest, *published):
            if other.weight_format == "fp16" and Label.of(other) == label:
                return self._store.variant_dir(other.model, other.variant)
        return next((folder for folder, kept in self._kept() if kept == label), None)

    def needless(self, asked: Collection[str]) -> list[Path]:
        """Return what no variant without a card waits for, nor one of those that are `asked` for by name."""
        # In this order: a variant is published before its reference comes here.
        kept = list(self._kept())
        wanted = {
            Label.of(manifest)
            for manifest in self._store.manifests()
            if (manifest.quality is None and manifest.quality_problem is None)
            or f"{manifest.model}:{manifest.variant}" in asked
        }
        return [folder for folder, label in kept if label not in wanted]

    def _kept(self) -> Iterator[tuple[Path, Label]]:
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.iterdir()):
            if is_reference(folder.name):
                with contextlib.suppress(OSError, ValidationError):
                    yield folder, Label.model_validate_json((folder / _LABEL_NAME).read_bytes())
