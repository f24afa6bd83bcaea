"""The body of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue, field_validator

from gateway.openai.sampling_fields import SamplingFields

#: OpenAI's default of this endpoint.
DEFAULT_MAX_TOKENS = 16
MAX_PROMPTS = 16

Prompt = Annotated[str, Field(min_length=1)]


class CompletionFields(SamplingFields):
    """A continuation of one text or of several."""

    prompt: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS)]
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt_list(cls, value: JsonValue) -> JsonValue:
        if isinstance(value, list) and any(not isinstance(one, str) for one in value):
            raise ValueError("Prompts are texts here; token ids are not taken.")
        return [value] if isinstance(value, str) else value
