"""What both kinds of OpenAI request have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from shared.schemas.common import WHOLE, Flag, Number, Whole
from shared.schemas.generation import StopString
from shared.schemas.schema_rules import GIVEN, TRUE, has, rules, when

MAX_CHOICES = 16
_SEEDS = 2**32
StopStrings = Annotated[tuple[StopString, ...], Field(max_length=4)]
STREAM_OPTIONS_ARE_FOR_STREAMS = when(has(stream_options=GIVEN), has(stream=TRUE))
TokenId = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), WHOLE]


class StreamOptions(BaseModel):
    """``stream_options``; ``include_usage`` adds a last chunk with the tokens counted."""

    model_config = ConfigDict(frozen=True, extra="allow")

    include_usage: Flag = False
    continuous_usage_stats: Literal[False] | None = None


class SamplingFields(BaseModel):
    """Fields of every request; null means the default, and unknown fields are let through to be told once.

    The defaults are OpenAI's. The model's own ``generation_config.json`` has no say: only the worker has it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        protected_namespaces=(),
        json_schema_extra=rules(STREAM_OPTIONS_ARE_FOR_STREAMS),
    )

    model: str = Field(min_length=1, max_length=256)
    stream: Flag | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1), WHOLE] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=MAX_CHOICES), WHOLE] | None = None
    seed: Whole | None = None
    stop: StopStrings = ()
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    user: str | None = Field(None, max_length=256, description="Your name for whom you ask; the log has it.")
    top_k: Annotated[int, Field(strict=True, ge=-1, le=100_000, description="0 and -1 are off."), WHOLE] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=2)] | None = None
    min_tokens: Annotated[int, Field(strict=True, ge=0, le=1_000_000), WHOLE] | None = None
    ignore_eos: Flag | None = None
    stop_token_ids: Annotated[tuple[TokenId, ...], Field(max_length=64)] | None = None
    include_stop_str_in_output: Flag | None = None
    skip_special_tokens: Flag | None = None

    @field_validator("stop", mode="before", json_schema_input_type=StopString | StopStrings | None)
    @classmethod
    def _stop_list(cls, value: JsonValue) -> JsonValue:
        if value is None:
            return []
        return [value] if isinstance(value, str) else value

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream ends with a chunk of the tokens counted."""
        return self.stream_options is not None and self.stream_options.include_usage

    def seed_of(self, choice: int) -> int | None:
        """Return the seed of one of ``n`` choices: the request's, and one more for each further choice."""
        return None if self.seed is None else (self.seed + choice) % _SEEDS
