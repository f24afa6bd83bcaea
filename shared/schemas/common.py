"""Bases of the messages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A message between services; readers ignore fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StrictMessage(BaseModel):
    """A message from a client; an unknown field is refused, because it is most likely a misspelt one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
