"""Who asks: the user behind a key, what the key may do, and whether it still may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from gateway.limits.limits import Limits

Role = Literal["admin", "user"]

#: The user whose key the operator gives or the first start makes.
ADMIN_USER = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated side of a request or a socket."""

    user: str
    role: Role
    key_id: str
    limits: Limits = field(default_factory=Limits)

    @property
    def is_admin(self) -> bool:
        """Whether conversions, deletions and the pool are this principal's business."""
        return self.role == "admin"


@dataclass(slots=True, eq=False)
class Standing:
    """Who asks, kept current while a request or a socket is open.

    Attributes:
        principal: with the limits that the key has by now.
        ended: set once the key was revoked, its user erased, or the session is over.
    """

    principal: Principal
    ended: asyncio.Event = field(default_factory=asyncio.Event)
