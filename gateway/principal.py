"""Who asks: the user behind a key, and what the key may do."""

from __future__ import annotations

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
