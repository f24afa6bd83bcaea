"""From a verified folder to a published variant: the manifest says what it is and where it came from."""

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.errors import StoreUnwritable, VariantCorrupt, VariantNotPublished
from shared.model_store import ModelStore, write_error
from shared.schemas.conversion import ConversionPlan, VariantResult
from shared.schemas.conversion_figures import ConversionFigures
from shared.schemas.models import Imported, Manifest, VariantRequest, Verification

_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "model_max_length")
_DEFAULT_CONTEXT_LENGTH = 2048


class VariantWork(BaseModel):
    """What the stages found out about one variant; a record of its work folder until it is published."""

    model_config = ConfigDict(frozen=True)

    weights_bytes: int
    compress_seconds: float
    notes: tuple[str, ...] = ()
    verify_seconds: float = 0.0
    verification: Verification | None = None


@dataclass(frozen=True)
class ConversionRecord:
    """What the job of a variant was foretold to take, and took; None where it is not known."""

    predicted: ConversionFigures | None = None
    measured: ConversionFigures | None = None

    def speed(self, foretold_with: object) -> float | None:
        """Return how many times the calibrated seconds the job took; None where stages of it ran before, or none.

        `foretold_with` is that multiple as it was when the job was foretold.
        """
        if self.predicted is None or self.measured is None or not isinstance(foretold_with, float | int):
            return None
        if len(self.measured.stages) < len(self.predicted.stages) or not self.predicted.seconds:
            return None
        return foretold_with * self.measured.seconds / self.predicted.seconds


def publish_variant(
    store: ModelStore,
    plan: ConversionPlan,
    request: VariantRequest,
    work: VariantWork,
    folder: Path,
    *,
    revision: str | None,
    fp16_bytes: int | None,
    versions: Mapping[str, str],
    staging: Path,
    watch: Callable[[], None] = lambda: None,
    imported: Imported | None = None,
    figures: ConversionRecord = ConversionRecord(),
) -> Manifest:
    """Publish a variant's folder and return its manifest; a second call finds it published.

    `versions` are those of the packages that made it. `staging` is a folder on the store's file system; a variant that
    was worked on elsewhere is copied there first.
    `watch` is called now and then and may raise to break off.

    Raises:
        VariantExists, DiskFull, StoreUnwritable: nothing was published.
    """
    staged = folder
    is_elsewhere = folder.is_dir() and store.path.resolve() not in folder.resolve().parents
    if is_elsewhere and not _is_published(store, plan.model, request.name):
        staged = staging / request.name
        try:
            shutil.rmtree(staged, ignore_errors=True)
            watch()
            shutil.copytree(folder, staged)
        except shutil.Error as error:
            raise StoreUnwritable(f"Cannot copy into {store.path}: {error}") from error
        except OSError as error:
            raise write_error(error, store.path) from error
    # A redelivered publish finds the folder gone and the variant published.
    described = folder if folder.is_dir() else store.variant_dir(plan.model, request.name)
    manifest = _manifest(
        plan,
        request,
        work,
        described,
        revision=revision,
        fp16_bytes=fp16_bytes,
        imported=imported,
        versions=dict(versions),
        figures=figures,
    )
    # A converter that stood still and comes back may publish the folder under our hands; the store tells.
    with contextlib.suppress(FileNotFoundError):
        for file in staged.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
    return store.publish(staged, manifest, watch)


def _is_published(store: ModelStore, model: str, variant: str) -> bool:
    """Tell whether a name is taken, by a lost attempt or by something else: the store says by which, without a copy."""
    with contextlib.suppress(VariantNotPublished, VariantCorrupt):
        store.manifest(model, variant)
        return True
    return False


def result_of(manifest: Manifest, work: VariantWork | None) -> VariantResult:
    """Return what the job says of a variant; without `work` it was published before the job."""
    return VariantResult(
        name=manifest.variant,
        weight_format=manifest.weight_format,
        recipe=manifest.recipe,
        weights_bytes=manifest.weights_bytes,
        compression_rate=manifest.compression_rate,
        seconds=None if work is None else round(work.compress_seconds + work.verify_seconds, 2),
        already_published=work is None,
        notes=manifest.notes,
    )


def _manifest(
    plan: ConversionPlan,
    request: VariantRequest,
    work: VariantWork,
    folder: Path,
    *,
    revision: str | None,
    fp16_bytes: int | None,
    imported: Imported | None,
    versions: dict[str, str],
    figures: ConversionRecord,
) -> Manifest:
    config = read_json(folder / "config.json")
    generation = read_json(folder / "generation_config.json")
    return Manifest(
        model=plan.model,
        variant=request.name,
        weight_format=request.weight_format,
        recipe=request.recipe,
        source_model=plan.source_model,
        revision=revision,
        model_type=str(config.get("model_type", "")),
        context_length=context_length(config),
        eos_token_ids=eos_token_ids(config, generation),
        stack=f"transformers-{versions.get('transformers', 'unknown')}",
        versions=versions,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
        weights_bytes=work.weights_bytes,
        fp16_weights_bytes=fp16_bytes,
        verification=work.verification,
        imported=imported,
        predicted=figures.predicted,
        measured=figures.measured,
        notes=work.notes,
    )


def context_length(config: dict[str, object]) -> int:
    """Return how many tokens the model was made for; families name it differently."""
    for field in _CONTEXT_FIELDS:
        value = config.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return _DEFAULT_CONTEXT_LENGTH


def eos_token_ids(config: dict[str, object], generation: dict[str, object]) -> tuple[int, ...]:
    """Return the tokens that end an answer: the generation configuration's, else the model's."""
    value = generation.get("eos_token_id", config.get("eos_token_id"))
    ids = value if isinstance(value, list) else [value]
    return tuple(token_id for token_id in ids if isinstance(token_id, int))


def read_json(file: Path) -> dict[str, object]:
    """Return the object in a file, an empty one where there is none."""
    if not file.is_file():
        return {}
    content = json.loads(file.read_text("utf-8"))
    return content if isinstance(content, dict) else {}
