"""A published variant: its recipe, its manifest in the store, its record in the index."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.ids import NAME_PATTERN
from shared.schemas.common import Message, StrictMessage

WeightFormat = Literal["fp16", "int8", "int4"]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]

MANIFEST_SCHEMA = 1


class Recipe(StrictMessage):
    """How weights are compressed; ``None`` leaves the choice to the catalogue, then to the default."""

    sym: bool | None = Field(None, description="Symmetric quantization.")
    group_size: int | None = Field(None, ge=-1, description="Channels per scale; -1 is one scale per channel.")
    ratio: float | None = Field(None, ge=0, le=1, description="Share of the layers in 4 bits, the rest in 8.")

    @model_validator(mode="after")
    def _group_size_is_not_zero(self) -> Self:
        if self.group_size == 0:
            raise ValueError("group_size is -1 (per channel) or a positive number of channels")
        return self


class VariantRequest(StrictMessage):
    """A variant to be made: the name, what it weighs, and how."""

    name: Name
    weight_format: WeightFormat
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _recipe_fits_the_format(self) -> Self:
        given = {field for field in ("sym", "group_size", "ratio") if getattr(self.recipe, field) is not None}
        allowed = {"int4": {"sym", "group_size", "ratio"}, "int8": {"sym"}, "fp16": set()}[self.weight_format]
        if given - allowed:
            raise ValueError(f"{self.weight_format} takes no {', '.join(sorted(given - allowed))}")
        return self


class FileRecord(Message):
    """Size and SHA-256 (hex) of one file of a variant."""

    size_bytes: int
    sha256: str


class Verification(Message):
    """What was seen when the variant was loaded after its conversion."""

    passed: bool
    output_token_ids: tuple[int, ...] = ()
    smoke_prompt: str = "2+2="
    smoke_answer: str | None = None
    load_seconds: float | None = None


class Manifest(Message):
    """``manifest.json``, written last: a folder without it is no variant."""

    schema_version: int = MANIFEST_SCHEMA
    model: str
    variant: str
    weight_format: WeightFormat
    recipe: Recipe
    source_model: str
    revision: str | None = None
    model_type: str
    context_length: int
    eos_token_ids: tuple[int, ...] = ()
    stack: str
    versions: dict[str, str]
    created_at: str = Field(description="UTC, ISO 8601.")
    files: dict[str, FileRecord]
    weights_bytes: int = Field(description="Size of openvino_model.bin.")
    fp16_weights_bytes: int | None = Field(None, description="Size of the fp16 weights it was made from.")
    verification: Verification | None = None

    @property
    def compression_rate(self) -> float | None:
        """fp16 size divided by this size."""
        if self.fp16_weights_bytes is None or not self.weights_bytes:
            return None
        return round(self.fp16_weights_bytes / self.weights_bytes, 3)


class VariantRecord(Message):
    """A published variant in the index and in ``GET /api/v1/models``."""

    model: str
    variant: str
    weight_format: WeightFormat
    recipe: Recipe
    source_model: str
    revision: str | None
    model_type: str
    context_length: int
    size_bytes: int
    weights_bytes: int
    compression_rate: float | None
    stack: str
    versions: dict[str, str]
    created_at: str
    verification: Verification | None

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> VariantRecord:
        """Return the record of a published variant."""
        return cls(
            **manifest.model_dump(include=set(cls.model_fields) & set(Manifest.model_fields)),
            size_bytes=sum(file.size_bytes for file in manifest.files.values()),
            compression_rate=manifest.compression_rate,
        )

    @property
    def key(self) -> str:
        """``model:variant``."""
        return f"{self.model}:{self.variant}"
