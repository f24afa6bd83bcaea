"""The frames of a generation as the OpenAI API reads them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from shared.schemas.common import Message
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationResumed,
    GenerationStarted,
)


class TopLogprob(Message):
    """A token that might have stood here."""

    token_id: int
    token: str
    logprob: float


class TokenLogprob(TopLogprob):
    """The token that stands here, and the likeliest ones."""

    top: tuple[TopLogprob, ...] = ()


class ToldDelta(GenerationDelta):
    """A delta with the log probabilities that were asked for."""

    logprobs: tuple[TokenLogprob, ...] = ()


Frame = Annotated[
    GenerationStarted | ToldDelta | GenerationResumed | GenerationFinished | GenerationFailed,
    Field(discriminator="type"),
]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)
