"""A generation: what the gateway asks for, what the worker journals."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from shared.errors import ErrorBody
from shared.schemas.common import WHOLE, Message, StrictMessage, Whole
from shared.schemas.tracing import TraceContext

FinishReason = Literal["stop", "length", "cancelled"]
Channel = Literal["answer", "reasoning", "tool_call"]
Role = Literal["system", "user", "assistant", "tool"]

StopString = Annotated[str, Field(min_length=1, max_length=256)]


class GenerationParams(StrictMessage):
    """Sampling parameters of the socket and the page, with the chat defaults; ``true`` is no number here."""

    temperature: float = Field(0.1, ge=0, le=2, description="0 is greedy.", strict=True)
    top_p: float = Field(1.0, gt=0, le=1, strict=True)
    top_k: Whole = Field(50, ge=0, le=100_000, description="0 is off.")
    min_p: float = Field(0.0, ge=0, le=1, strict=True)
    repetition_penalty: float = Field(1.1, gt=0, le=2, strict=True)
    presence_penalty: float = Field(0.0, ge=-2, le=2, strict=True)
    frequency_penalty: float = Field(0.0, ge=-2, le=2, strict=True)
    max_new_tokens: Whole = Field(256, ge=1, le=1_000_000)
    seed: Annotated[int, Field(strict=True, ge=0, le=2**32 - 1), WHOLE] | None = None
    stop: tuple[StopString, ...] = Field((), max_length=16)


class ChatTurn(Message):
    """One message of the prompt; the last two fields are those of OpenAI's assistant and tool messages."""

    role: Role
    content: str
    tool_calls: tuple[dict[str, JsonValue], ...] = ()
    tool_call_id: str | None = None


class EngineOptions(Message):
    """What a generation may ask for beyond the sampling parameters; only the OpenAI API does.

    Attributes:
        prompt: text that is continued as it stands, without a chat template; then ``messages`` is empty.
        keep_all_turns: whether a chat that is too long fails, instead of losing its oldest turns.
        include_stop_text: whether the stop string that ended the answer is part of it.
        top_logprobs: alternatives whose log probabilities are told beside the chosen token's; None tells none.
        json_schema: JSON text of the schema that the answer must follow.
        tools: OpenAI's tool definitions, for the chat template.
        tool_format: how the model writes tool calls, which are then split out; None leaves them in the text.
        reasoning_format: how the model marks its reasoning, which is then split out; None leaves it in the text.
    """

    prompt: str | None = None
    keep_all_turns: bool = False
    min_new_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    include_stop_text: bool = False
    skip_special_tokens: bool = True
    top_logprobs: int | None = None
    json_schema: str | None = None
    tools: tuple[dict[str, JsonValue], ...] = ()
    tool_format: str | None = None
    reasoning_format: str | None = None
    chat_template_kwargs: dict[str, JsonValue] = Field(default_factory=dict)


class GenerationRequest(Message):
    """What a worker needs to answer; kept under ``keys.generation_request``.

    ``choice`` tells the generations apart that answer one prompt; the prompt's tokens are the usage of the first.
    ``trace`` is there where the gateway traces.
    """

    v: Literal[1] = 1
    generation_id: str
    request_id: str
    user: str
    chat_id: str
    model: str
    variant: str
    messages: tuple[ChatTurn, ...]
    params: GenerationParams
    options: EngineOptions = EngineOptions()
    choice: int = 0
    trace: TraceContext | None = None

    @property
    def variant_key(self) -> str:
        """The ``model:variant`` name of queue, slots and replica."""
        return f"{self.model}:{self.variant}"

    @property
    def conversation(self) -> str:
        """What tells the prompts apart that begin alike: the chat, or what a chat begins with where there is none."""
        if self.chat_id:
            return self.chat_id
        digest = hashlib.sha256(self.user.encode())
        for turn in self.messages:
            digest.update(f"\0{turn.role}\0{turn.content}".encode())
            if turn.role == "user":
                break
        return digest.hexdigest()[:32]


class Usage(Message):
    """Tokens that a generation took and made.

    ``cached_tokens`` are those of the prompt that the engine had in its cache; None where it cannot tell.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


class Timings(Message):
    """Milliseconds, all from the moment of queueing: to leaving the queue, to the first delta, to the end."""

    queue_ms: float
    first_token_ms: float | None
    total_ms: float


class GenerationStarted(Message):
    """A worker has tokenized the prompt and handed it to the engine."""

    type: Literal["generation.started"] = "generation.started"
    generation_id: str
    model: str
    variant: str
    device: str
    worker_id: str
    prompt_tokens: int
    dropped_turns: int


class AlternativeToken(Message):
    """A token that the model might have chosen.

    ``token_bytes`` are given where they are not those of ``token``: a part of a character has U+FFFD for a text.
    """

    token_id: int
    token: str
    logprob: float
    token_bytes: tuple[int, ...] | None = None


class TokenScore(AlternativeToken):
    """A token of the answer, its natural log probability, and the likeliest tokens where they were asked for."""

    top: tuple[AlternativeToken, ...] = ()


class GenerationDelta(Message):
    """A piece of the answer: whole characters, never a stop string or a special token.

    ``logprobs`` has the tokens since the delta before, and is left out of the frame where it was not asked for.
    The text of a ``tool_call`` is a JSON object: ``index``, a piece of ``arguments``, first also ``name`` and ``id?``.
    """

    type: Literal["generation.delta"] = "generation.delta"
    generation_id: str
    seq: int = Field(ge=1)
    text: str
    channel: Channel = "answer"
    logprobs: tuple[TokenScore, ...] | None = None


class GenerationResumed(Message):
    """Another attempt goes on where a lost one stopped."""

    type: Literal["generation.resumed"] = "generation.resumed"
    generation_id: str
    worker_id: str
    reason: str


class GenerationFinished(Message):
    """The good end; ``seq`` is that of the last delta, 0 where there was none."""

    type: Literal["generation.finished"] = "generation.finished"
    generation_id: str
    seq: int = Field(ge=0)
    finish_reason: FinishReason
    usage: Usage
    timings: Timings


class GenerationFailed(Message):
    """The bad end."""

    type: Literal["generation.failed"] = "generation.failed"
    generation_id: str
    error: ErrorBody


JournalFrame = Annotated[
    GenerationStarted | GenerationDelta | GenerationResumed | GenerationFinished | GenerationFailed,
    Field(discriminator="type"),
]
