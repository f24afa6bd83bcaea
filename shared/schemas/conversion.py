"""A conversion: the request, the job and its events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from shared.errors import ErrorBody
from shared.schemas.common import Message, StrictMessage
from shared.schemas.conversion_figures import ConversionFigures, Stage
from shared.schemas.models import Name, Recipe, VariantRequest, WeightFormat
from shared.schemas.schema_rules import GIVEN, has, no, rules, when

ConversionState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
__all__ = [
    "ENDED", "STAGES", "ConversionEvent", "ConversionFigures", "ConversionJob", "ConversionPlan", "ConversionRequest",
    "ConversionState", "Stage", "VariantResult", "named_variants",
]  # fmt: skip
STAGES: tuple[Stage, ...] = (
    "resolve", "preflight", "download", "export", "compress", "tokenizer", "verify", "publish",
)  # fmt: skip
ENDED: frozenset[ConversionState] = frozenset({"succeeded", "failed", "cancelled"})

#: A source whose last part, in lower case, can be a public name.
_NAMING_SOURCE = r"(^|/)[A-Za-z0-9][A-Za-z0-9._-]{0,95}/*$"


class ConversionRequest(StrictMessage):
    """``POST /api/v1/conversions``."""

    model_config = ConfigDict(
        json_schema_extra=rules(when(no(has(name=GIVEN)), has(source_model={"pattern": _NAMING_SOURCE})))
    )

    source_model: str = Field(min_length=1, max_length=512, description="Hub id, catalogue name, folder or GGUF file.")
    name: Name | None = Field(None, description="Public name; the last part of the source in lower case by default.")
    variants: tuple[WeightFormat | VariantRequest, ...] = Field(min_length=1, max_length=16)
    revision: Annotated[str, Field(max_length=128)] | None = None
    trust_remote_code: bool = Field(False, strict=True)

    @field_validator("variants")
    @classmethod
    def _names_differ(cls, variants: tuple[WeightFormat | VariantRequest, ...]) -> tuple[object, ...]:
        names = [variant.name for variant in named_variants(variants)]
        if len(set(names)) != len(names):
            raise ValueError("two variants have the same name")
        return variants


class ImportRequest(StrictMessage):
    """``POST /api/v1/imports``."""

    model_config = ConfigDict(
        json_schema_extra=rules(when(no(has(name=GIVEN)), has(source_model={"pattern": _NAMING_SOURCE})))
    )

    source_model: str = Field(
        min_length=1, max_length=512, description="Hub id of ready-made OpenVINO IR, or its folder at the converter."
    )
    name: Name | None = Field(
        None, description="Public name; by default the last part of the source, without such as `-int4-ov`."
    )
    variant: Name | None = Field(None, description="Name of the variant; by default the source's, or its format.")
    revision: Annotated[str, Field(max_length=128)] | None = None


def named_variants(variants: tuple[WeightFormat | VariantRequest, ...]) -> tuple[VariantRequest, ...]:
    """Return each variant with its name and recipe; a bare weight format is a variant of that name."""
    return tuple(
        variant if isinstance(variant, VariantRequest) else VariantRequest(name=variant, weight_format=variant)
        for variant in variants
    )


class ConversionPlan(Message):
    """What a job will do, all choices made when it is accepted; an import's variant is told once it has been seen."""

    source_model: str
    model: str
    variants: tuple[VariantRequest, ...]
    revision: str | None = None
    trust_remote_code: bool = Field(False, strict=True)
    kind: Literal["convert", "import"] = "convert"
    variant: str | None = Field(None, description="Name that an imported variant is to have; its format's where null.")
    stack: str | None = Field(
        None, description="Version stack of a model of the catalogue; for another one the converter finds it."
    )


class VariantResult(Message):
    """What became of one variant of a job."""

    name: str
    weight_format: WeightFormat
    recipe: Recipe
    weights_bytes: int
    compression_rate: float | None
    seconds: float | None = None
    already_published: bool = False
    notes: tuple[str, ...] = Field((), description="What of the recipe could not be followed, and why.")


class ConversionJob(Message):
    """``GET /api/v1/conversions/{id}``."""

    conversion_id: str
    plan: ConversionPlan
    state: ConversionState
    stage: Stage | None = None
    progress: float = Field(0.0, ge=0, le=1, description="Of the whole job.")
    waiting: str | None = Field(
        None, description="What its stage waits for before it begins, such as memory or a larger converter."
    )
    attempt: int = 1
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    results: tuple[VariantResult, ...] = ()
    error: ErrorBody | None = None
    user: str | None = Field(None, description="Who asked for it first.")
    predicted: ConversionFigures | None = Field(None, description="What preflight foretold; null before, or unknown.")
    measured: ConversionFigures | None = Field(None, description="What the stages took; null until the job ends.")


class ConversionEvent(Message):
    """One step of a job, as its event stream tells it."""

    conversion_id: str
    state: ConversionState
    stage: Stage | None = None
    variant: str | None = None
    stage_progress: float | None = Field(None, ge=0, le=1, description="Of the stage, where known.")
    progress: float = Field(ge=0, le=1, description="Of the whole job.")
    message: str | None = None
    predicted: ConversionFigures | None = Field(None, description="What preflight foretold, when it does.")
    log: tuple[str, ...] = Field((), description="Lines that the stage's process printed; such an event has no news.")
    error: ErrorBody | None = None
