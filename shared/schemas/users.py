"""Users' keys, as the interface and the state Redis know them. Only the answer to a key's maker carries the key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.schemas.common import WHOLE, Message, StrictMessage

Role = Literal["admin", "user"]
#: A user's name stands in Redis keys and in lists, so it has neither colons nor spaces.
USER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"


class KeyLimits(StrictMessage):
    """What a key changes in its user's limits; a field that is not set leaves the default, 0 is unlimited."""

    max_concurrent: Annotated[int, Field(strict=True, ge=0, le=1_000_000), WHOLE] | None = None
    requests_per_minute: Annotated[int, Field(strict=True, ge=0, le=1_000_000), WHOLE] | None = None
    tokens_per_day: Annotated[int, Field(strict=True, ge=0, le=10**12), WHOLE] | None = None
    weight: float = Field(1.0, gt=0, le=1000, strict=True)


class KeyRecord(Message):
    """A key without the key: what is stored under its SHA-256 and what lists show.

    Attributes:
        last_used_day: UTC day, ``2026-01-31``; None where it was never used.
    """

    key_id: str
    user: str
    role: Role
    name: str = ""
    created_ms: int
    revoked: bool = False
    limits: KeyLimits = Field(default_factory=KeyLimits)
    last_used_day: str | None = None


class NewKey(StrictMessage):
    """A wish for a key; a user begins to exist with the first one."""

    user: str = Field(pattern=USER_PATTERN)
    role: Role = "user"
    name: str = Field("", max_length=100)
    limits: KeyLimits = Field(default_factory=KeyLimits)


class KeyChange(StrictMessage):
    """A wish to change a key's limits: those that are named, null for the setting's default; the others stay."""

    limits: Annotated[KeyLimits, Field(json_schema_extra={"minProperties": 1})]


class CreatedKey(KeyRecord):
    """A new key, the only time that it is shown."""

    key: str


class UserRecord(Message):
    """A user: whoever a key was made for and who was not erased."""

    user: str
    role: Role
    active_keys: int
    created_ms: int
    last_used_day: str | None = None


class AuditEvent(Message):
    """One action of an admin, or a key's beginning or end."""

    time_ms: int
    user: str
    key_id: str
    action: str
    target: str
    detail: str = ""
