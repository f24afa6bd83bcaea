"""One model of the catalogue: where it comes from, how it is compressed, what chats with it need."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from shared.catalog.chat_form import StreamRules
from shared.schemas.common import Flag, StrictMessage
from shared.schemas.engine_config import EngineConfig
from shared.schemas.models import Name, Recipe, WeightFormat

Language = Literal["en", "zh", "ja"]

#: INT4 recipe of a model that names none.
DEFAULT_INT4_RECIPE = Recipe(sym=False, group_size=128, ratio=0.8)
#: Bits of a weight as published, scales included.
_BITS: dict[WeightFormat, float] = {"fp16": 16.0, "int8": 8.1, "int4": 4.6}
#: An export holds the 16-bit weights about twice, beside what the libraries take.
_EXPORT_BYTES_PER_WEIGHT = 4
_EXPORT_BASE_BYTES = 512 << 20


class CatalogEntry(StrictMessage):
    """One model of the catalogue."""

    id: Name
    aliases: tuple[Name, ...] = ()
    languages: tuple[Language, ...] = Field(min_length=1)
    source_model: str = Field(min_length=1, max_length=512)
    revision: str | None = None
    trust_remote_code: Flag = False
    gated: Flag = False
    licence: str | None = Field(None, description="SPDX identifier, or the name that the model's makers gave theirs.")
    parameters: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        None, description="Number of weights, rounded; of a mixture of experts all of them."
    )
    chat: Flag = Field(True, description="Whether it was trained to chat; a base model only continues a text.")
    form: str | None = Field(
        None, description="Chat form that is taken where the model's tokenizer has no chat template."
    )
    stop_tokens: tuple[str, ...] = Field(
        (), description="Tokens that end an answer beside the model's own and the form's."
    )
    stream: StreamRules = Field(StreamRules(), description="What is done to each answer, whatever the template.")
    family: str = Field(min_length=1, description="`model_type` of its configuration.")
    int4: Recipe = DEFAULT_INT4_RECIPE
    runtime: dict[str, dict[str, str]] = Field(
        {}, description="By kind of device, as in GPU: properties of its plugin that the model needs there."
    )

    @field_validator("runtime")
    @classmethod
    def _properties_are_known(cls, runtime: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for properties in runtime.values():
            EngineConfig(properties=properties)
        return runtime

    @property
    def gate(self) -> str | None:
        """Page on which the licence of a gated model is accepted."""
        return f"https://huggingface.co/{self.source_model}" if self.gated else None

    @property
    def conversion_memory_bytes(self) -> int | None:
        """Estimated peak of the export; None where the number of weights is not known."""
        if self.parameters is None:
            return None
        return self.parameters * _EXPORT_BYTES_PER_WEIGHT + _EXPORT_BASE_BYTES

    def weights_bytes(self, weight_format: WeightFormat) -> int | None:
        """Return the estimated size of a variant's weights; None where their number is not known."""
        return None if self.parameters is None else int(self.parameters * _BITS[weight_format] / 8)
