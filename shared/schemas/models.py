"""A published variant: its recipe, its manifest in the store, its record in the index."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from shared.ids import NAME_PATTERN
from shared.schemas.common import WHOLE, Flag, Message, Number, StrictMessage
from shared.schemas.conversion_figures import ConversionFigures
from shared.schemas.quality import QualityCard
from shared.schemas.schema_rules import GIVEN, Schema, has, rules, when

WeightFormat = Literal["fp16", "int8", "int4"]
#: An engine of the inference worker that serves models.
EngineName = Literal["continuous_batching", "stateful", "optimum"]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]

GroupSize = Annotated[int, Field(strict=True, ge=-1, le=1 << 20, json_schema_extra={"not": {"const": 0}}), WHOLE]

#: A calibration set that the converter fetches from the hub.
CalibrationName = Literal["wikitext2"]
MAX_CALIBRATION_TEXTS = 1024
CALIBRATION_PREFIX = "texts:"
CalibrationDigest = Annotated[str, Field(pattern=r"^texts:[0-9a-f]{64}$")]
#: The texts themselves; only the beginning of a long one is read.
CalibrationTexts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=20_000)], ...],
    Field(min_length=1, max_length=MAX_CALIBRATION_TEXTS),
]
LayerPattern = Annotated[str, Field(min_length=1, max_length=256)]

MANIFEST_SCHEMA = 1
#: What a recipe may name, by the weight format.
_RECIPE_FIELDS: dict[WeightFormat, frozenset[str]] = {
    "int4": frozenset(
        {"sym", "group_size", "ratio", "backup_precision", "awq", "scale_estimation", "gptq", "dataset", "samples"}
        | {"ignored_layers"}
    ),
    "int8": frozenset({"sym", "ignored_layers"}),
    "fp16": frozenset(),
}


class Recipe(StrictMessage):
    """How weights are compressed; ``None`` leaves the choice to the catalogue, then to the default."""

    model_config = ConfigDict(json_schema_extra=rules(when(has(samples=GIVEN), has(dataset=GIVEN))))

    sym: Flag | None = Field(None, description="Symmetric quantization.")
    group_size: GroupSize | None = Field(None, description="Channels per scale; -1 is one scale per channel.")
    ratio: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="Share of the layers in 4 bits, the rest in 8."
    )
    backup_precision: Literal["none", "int8_sym", "int8_asym"] | None = Field(
        None, description="Of the layers that are not in 4 bits: 8 bits, asymmetric by default, or as they were."
    )
    awq: Flag | None = Field(None, description="Scale weights by their activations first; without `dataset` by guess.")
    scale_estimation: Flag | None = Field(None, description="Choose scales by what layers put out; needs `dataset`.")
    gptq: Flag | None = Field(None, description="Correct weights for the errors of others; needs `dataset`.")
    dataset: CalibrationName | CalibrationDigest | CalibrationTexts | None = Field(
        None,
        description="Texts whose activations are looked at: a name, which needs the hub, or the texts themselves; jobs "
        "and manifests name those by their digest.",
    )
    samples: Annotated[int, Field(strict=True, ge=1, le=MAX_CALIBRATION_TEXTS), WHOLE] | None = Field(
        None, description="How many texts are taken; 128 where not given."
    )
    ignored_layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1, max_length=256)] | None = Field(
        None, description="Layers that stay as they are: names as in `model.layers.0.mlp.down_proj`, `*` for any text."
    )

    @field_validator("group_size")
    @classmethod
    def _group_size_is_not_zero(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("group_size is -1 (per channel) or a positive number of channels")
        return value

    @model_validator(mode="after")
    def _samples_are_of_something(self) -> Self:
        if self.samples is not None and self.dataset is None:
            raise ValueError("samples says how many texts of a dataset are taken, and there is no dataset")
        return self

    @property
    def needs_texts(self) -> bool:
        """Whether it can only be followed with calibration texts."""
        return bool(self.scale_estimation or self.gptq)


def _without(allowed: frozenset[str]) -> Schema:
    """Return the schema of a recipe that names the allowed fields only."""
    return {"properties": {field: {"type": "null"} for field in Recipe.model_fields if field not in allowed}}


class VariantRequest(StrictMessage):
    """A variant to be made: the name, what it weighs, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                when(has(weight_format={"const": weight_format}), {"properties": {"recipe": _without(fields)}})
                for weight_format, fields in _RECIPE_FIELDS.items()
            )
        )
    )

    name: Name
    weight_format: WeightFormat
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _recipe_fits_the_format(self) -> Self:
        given = {field for field in Recipe.model_fields if getattr(self.recipe, field) is not None}
        refused = given - _RECIPE_FIELDS[self.weight_format]
        if refused:
            raise ValueError(f"{self.weight_format} takes no {', '.join(sorted(refused))}")
        return self


class FileRecord(Message):
    """Size and SHA-256 (hex) of one file of a variant."""

    size_bytes: int
    sha256: str


class EngineCheck(Message):
    """Engines compared by their greedy tokens after a fixed prompt, for a family of which nothing is known."""

    engine: EngineName = Field(description="The first that agrees: it serves the variant unless an operator says else.")
    reference: tuple[int, ...] = Field(description="What the IR itself gives, in float32.")
    outputs: dict[EngineName, tuple[int, ...]] = Field(description="What each engine gave that was tried.")


class Verification(Message):
    """What was seen when the variant was loaded after its conversion."""

    passed: bool
    output_token_ids: tuple[int, ...] = ()
    smoke_prompt: str = "2+2="
    smoke_answer: str | None = None
    load_seconds: float | None = None
    engine_check: EngineCheck | None = None


#: Where an imported variant's recipe was read: in the IR, in the file beside it, or only from its weights' types.
RecipeOrigin = Literal["rt_info", "openvino_config", "weights"]


class Imported(Message):
    """What is known of a variant that came as ready-made IR and was not converted here."""

    precision: str = Field(description="Element type of most weights, as OpenVINO names it.")
    recipe_origin: RecipeOrigin
    methods: tuple[str, ...] = Field(
        (), description="What of its compression no field of the recipe says, by nncf's names."
    )
    tokenizer_ir: Literal["kept", "built"] = Field(description="`built` from the tokenizer's files at the import.")
    has_chat_template: bool = Field(description="Without one it goes on with texts, but cannot chat.")


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
    imported: Imported | None = None
    predicted: ConversionFigures | None = Field(None, description="What its conversion was foretold to take.")
    measured: ConversionFigures | None = Field(None, description="What its conversion took, all variants of the job.")
    notes: tuple[str, ...] = Field((), description="What of the recipe could not be followed, and why.")
    quality: QualityCard | None = Field(None, description="Comes after the publication; none where FP16 is not there.")
    quality_problem: str | None = Field(None, description="Why the quality could not be measured.")

    @property
    def engine(self) -> EngineName | None:
        """The engine that was found to serve it right; None where its family tells."""
        check = self.verification and self.verification.engine_check
        return check.engine if check else None

    @property
    def compression_rate(self) -> float | None:
        """fp16 size divided by this size."""
        if self.fp16_weights_bytes is None or not self.weights_bytes:
            return None
        return round(self.fp16_weights_bytes / self.weights_bytes, 3)


class Placement(StrictMessage):
    """What an admin wants of a variant, whether anybody asks for it or not."""

    replicas: int = Field(0, ge=0, le=1000, description="Workers that keep it loaded; 0 loads it when it is asked for.")
    pinned: bool = Field(False, description="No worker ends it to make room or because nobody uses it.")


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
    imported: Imported | None = None
    notes: tuple[str, ...] = ()
    quality: QualityCard | None = None
    quality_problem: str | None = None

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
