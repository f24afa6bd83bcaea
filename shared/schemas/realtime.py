"""The WebSocket protocol: one literal-tagged type per frame, one union per direction; see ``docs/protocol.md``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.errors import ErrorBody
from shared.schemas.common import Message, StrictMessage
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationParams,
    GenerationResumed,
    GenerationStarted,
)

PROTOCOL_VERSION = 1
#: Largest frame in either direction; a larger one closes the socket with 1009.
MAX_FRAME_BYTES = 1 << 20

Identifier = Annotated[str, Field(min_length=1, max_length=128)]


class ChatSend(StrictMessage):
    """Ask a question in a chat, or in a new one where ``chat_id`` is null.

    Attributes:
        parent_message_id: the answer that the question follows; null is the newest, ``root`` begins the tree anew.
        system: the chat's system prompt from now on; null keeps it.
        params: of this answer; null takes the chat's. A new chat keeps those of its first question.
    """

    type: Literal["chat.send"]
    request_id: Identifier
    chat_id: Identifier | None = None
    model: Identifier
    content: str = Field(min_length=1)
    parent_message_id: Identifier | None = None
    system: str | None = None
    params: GenerationParams | None = None


class ChatRegenerate(StrictMessage):
    """Answer the same question again, beside the given answer."""

    type: Literal["chat.regenerate"]
    request_id: Identifier
    chat_id: Identifier
    message_id: Identifier
    params: GenerationParams | None = None


class GenerationCancel(StrictMessage):
    """Stop a generation; silent where it has ended already."""

    type: Literal["generation.cancel"]
    generation_id: Identifier


class GenerationResume(StrictMessage):
    """Follow a generation from after a delta that was received, on this or any gateway."""

    type: Literal["generation.resume"]
    generation_id: Identifier
    after_seq: int = Field(0, ge=0)


class Ping(StrictMessage):
    """Ask for a pong."""

    type: Literal["ping"]


ClientFrame = Annotated[
    ChatSend | ChatRegenerate | GenerationCancel | GenerationResume | Ping, Field(discriminator="type")
]
CLIENT_FRAME: TypeAdapter[ClientFrame] = TypeAdapter(ClientFrame)


class SessionReady(Message):
    """The first frame of a socket."""

    type: Literal["session.ready"] = "session.ready"
    user: str
    protocol: Literal[1] = 1


class GenerationQueued(Message):
    """A generation was accepted; always its first frame, and sent again when its position changes."""

    type: Literal["generation.queued"] = "generation.queued"
    request_id: str
    generation_id: str
    chat_id: str
    user_message_id: str
    message_id: str
    position: int = Field(ge=0, description="Generations before this one; 0 is the next.")


class ModelLoading(Message):
    """The generation waits until its model is loaded."""

    type: Literal["model.loading"] = "model.loading"
    generation_id: str
    model: str
    progress: float | None = Field(None, ge=0, le=1)


class ErrorFrame(Message):
    """A command was refused; the socket lives on."""

    type: Literal["error"] = "error"
    request_id: str | None = None
    generation_id: str | None = None
    error: ErrorBody
    retry_after_seconds: float | None = Field(None, description="When the same may be asked again; of 429s and 503s.")


class Pong(Message):
    """The answer to a ping."""

    type: Literal["pong"] = "pong"


ServerFrame = Annotated[
    SessionReady
    | GenerationQueued
    | ModelLoading
    | GenerationStarted
    | GenerationDelta
    | GenerationResumed
    | GenerationFinished
    | GenerationFailed
    | ErrorFrame
    | Pong,
    Field(discriminator="type"),
]
SERVER_FRAME: TypeAdapter[ServerFrame] = TypeAdapter(ServerFrame)
