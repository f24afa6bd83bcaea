"""What both kinds of OpenAI request have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from shared.schemas.generation import StopString

MAX_CHOICES = 16
_SEEDS = 2**32


class StreamOptions(BaseModel):
    """``stream_options``; ``include_usage`` adds a last chunk with the tokens counted."""

    model_config = ConfigDict(frozen=True, extra="allow")

    include_usage: bool = False


class SamplingFields(BaseModel):
    """Fields of every request; null means the default, and unknown fields are let through to be told once.

    The defaults are OpenAI's. The model's own ``generation_config.json`` has no say: only the worker has it.
    """

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    model: str = Field(min_length=1, max_length=256)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    seed: int | None = None
    stop: Annotated[tuple[StopString, ...], Field(max_length=4)] = ()
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    user: str | None = Field(None, max_length=256, description="Your name for whom you ask; the log has it.")
    top_k: int | None = Field(None, ge=-1, le=100_000, description="0 and -1 are off.")
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    min_tokens: int | None = Field(None, ge=0)
    ignore_eos: bool | None = None
    stop_token_ids: tuple[int, ...] | None = Field(None, max_length=64)
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None

    @field_validator("stop", mode="before")
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
