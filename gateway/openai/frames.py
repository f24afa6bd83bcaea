"""The frames of a generation as the OpenAI API reads them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from shared.schemas.generation import (
    AlternativeToken,
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationResumed,
    GenerationStarted,
    TokenScore,
)

TopLogprob = AlternativeToken
TokenLogprob = TokenScore


class ToldDelta(GenerationDelta):
    """A delta with the log probabilities that were asked for."""

    logprobs: tuple[TokenScore, ...] = ()


Frame = Annotated[
    GenerationStarted | ToldDelta | GenerationResumed | GenerationFinished | GenerationFailed,
    Field(discriminator="type"),
]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)
