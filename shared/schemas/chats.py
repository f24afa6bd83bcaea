"""A chat's stored messages."""

from __future__ import annotations

from typing import Literal

from shared.errors import ErrorBody
from shared.schemas.common import Message
from shared.schemas.generation import FinishReason, GenerationParams, Timings, Usage


class Provenance(Message):
    """Where an answer came from."""

    model: str
    variant: str
    device: str | None = None
    worker_id: str | None = None
    params: GenerationParams
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
