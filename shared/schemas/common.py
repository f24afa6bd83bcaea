"""Bases of the messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: JSON has one kind of number: 3.0 is a whole one. Stands behind a strict integer's limits, or the schema lacks them.
WHOLE = BeforeValidator(_whole)
#: As the schemas say, texts and ``true`` are no numbers, and numbers and texts no flags.
Whole = Annotated[int, Field(strict=True), WHOLE]
Number = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class Message(BaseModel):
    """A message between services; readers ignore fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StrictMessage(BaseModel):
    """A message from a client; an unknown field is refused, because it is most likely a misspelt one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
