"""Lines of JSON between ``ovchat tune`` and the process that measures one candidate of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.schemas.common import Message


class MeasureRound(Message):
    """Measure once; the same number asks for the same prompts."""

    type: Literal["round"] = "round"
    number: int


class Continue(Message):
    """Continue the fixed texts greedily."""

    type: Literal["continue"] = "continue"
    tokens: int


class Compare(Message):
    """Say each token of these continuations of the fixed texts again, after the tokens before it."""

    type: Literal["compare"] = "compare"
    continuations: tuple[tuple[int, ...], ...]


class CandidateReady(Message):
    """The variant is loaded with the candidate; what the host and the engine are like."""

    type: Literal["ready"] = "ready"
    host_kind: str
    threads: int
    capabilities: tuple[str, ...] = Field((), description="What the device computes in, as OpenVINO names it.")
    engine: str
    slots: int
    max_num_batched_tokens: int
    step_target_ms: float
    prompt_tokens: int = Field(description="Of the prompt whose first token is timed.")
    properties: dict[str, str]


class RoundFigures(Message):
    """What one round took."""

    type: Literal["figures"] = "figures"
    one_chat_tokens_per_second: float
    many_chats_tokens_per_second: float
    first_token_ms: float
    longest_step_ms: float


class Continuations(Message):
    """What follows each of the fixed texts."""

    type: Literal["continuations"] = "continuations"
    token_ids: tuple[tuple[int, ...], ...]


class Agreement(Message):
    """The share, 0–1, of tokens that were said again."""

    type: Literal["agreement"] = "agreement"
    share: float


class CandidateFailed(Message):
    """The process ends, because of this."""

    type: Literal["failed"] = "failed"
    message: str


TuningCommand = Annotated[MeasureRound | Continue | Compare, Field(discriminator="type")]
TUNING_COMMAND: TypeAdapter[TuningCommand] = TypeAdapter(TuningCommand)
TuningLine = Annotated[
    CandidateReady | RoundFigures | Continuations | Agreement | CandidateFailed, Field(discriminator="type")
]
TUNING_LINE: TypeAdapter[TuningLine] = TypeAdapter(TuningLine)
