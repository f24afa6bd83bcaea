"""A user's chats and their stored messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.errors import ErrorBody
from shared.schemas.common import Message, StrictMessage
from shared.schemas.generation import FinishReason, GenerationParams, Timings, Usage

#: What ``parent_message_id`` says where a question begins the tree anew, beside the first one.
ROOT = "root"

Title = Annotated[str, Field(min_length=1, max_length=200)]
Model = Annotated[str, Field(min_length=1, max_length=128)]
SystemPrompt = Annotated[str, Field(max_length=100_000)]


class Provenance(Message):
    """Where an answer came from.

    Attributes:
        params: as they were asked for, or the chat's.
        seed: what the sampler was seeded with; None where nothing was sampled.
    """

    model: str
    variant: str
    device: str | None = None
    worker_id: str | None = None
    params: GenerationParams
    seed: int | None = None
    usage: Usage | None = None
    timings: Timings | None = None


class StoredMessage(Message):
    """One node of a chat's message tree; an answer's id is its generation's id."""

    message_id: str
    parent_message_id: str | None
    role: Literal["system", "user", "assistant"]
    content: str
    status: Literal["done", "running", "failed"] = "done"
    created_ms: int
    finish_reason: FinishReason | None = None
    error: ErrorBody | None = None
    provenance: Provenance | None = None


class ChatSummary(Message):
    """One line of a user's list of chats; ``updated_ms`` is the time of the last turn."""

    chat_id: str
    title: str
    model: str | None = None
    created_ms: int
    updated_ms: int


class ChatList(Message):
    """A page of a user's chats, the newest first; ``next_cursor`` is None on the last one."""

    data: tuple[ChatSummary, ...]
    next_cursor: str | None = None


class Chat(ChatSummary):
    """A chat with its whole tree; each message stands behind the one that it answers or follows.

    Attributes:
        system: the system prompt of every answer.
        params: what an answer is sampled with where its question names nothing else; None: the defaults.
        leaf_message_id: the answer that the next question follows; None before the first turn.
    """

    system: str | None = None
    params: GenerationParams | None = None
    leaf_message_id: str | None = None
    messages: tuple[StoredMessage, ...] = ()


class ChatCreation(StrictMessage):
    """A chat to be made; what is left out is given by its first question."""

    title: Title | None = None
    model: Model | None = None
    system: SystemPrompt | None = None
    params: GenerationParams | None = None


class ChatChange(StrictMessage):
    """Fields of a chat to be changed; null takes a system prompt, parameters or a model away."""

    title: Title = ""
    model: Model | None = None
    system: SystemPrompt | None = None
    params: GenerationParams | None = None
    leaf_message_id: Annotated[str, Field(min_length=1, max_length=128)] = ""
