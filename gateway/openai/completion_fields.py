"""The body of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, field_validator

from gateway.openai.sampling_fields import STREAM_OPTIONS_ARE_FOR_STREAMS, SamplingFields
from shared.schemas.common import WHOLE, Flag
from shared.schemas.schema_rules import GIVEN, TRUE, has, no, rules, when

#: OpenAI's default of this endpoint.
DEFAULT_MAX_TOKENS = 16
MAX_PROMPTS = 16

Prompt = Annotated[str, Field(min_length=1)]
Prompts = Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS)]


class CompletionFields(SamplingFields):
    """A continuation of one text or of several."""

    model_config = ConfigDict(
        json_schema_extra=rules(STREAM_OPTIONS_ARE_FOR_STREAMS, when(has(echo=TRUE), no(has(logprobs=GIVEN))))
    )

    prompt: Prompts
    logprobs: Annotated[int, Field(strict=True, ge=0, le=5), WHOLE] | None = None
    echo: Flag | None = None

    @field_validator("prompt", mode="before", json_schema_input_type=Prompt | Prompts)
    @classmethod
    def _prompt_list(cls, value: JsonValue) -> JsonValue:
        if isinstance(value, list) and any(not isinstance(one, str) for one in value):
            raise ValueError("Prompts are texts here; token ids are not taken.")
        return [value] if isinstance(value, str) else value
