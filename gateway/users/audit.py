"""What admins did: a trimmed stream in the state Redis, and a log event for each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import redis.exceptions

from gateway.principal import Principal
from shared import keys
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.users import AuditEvent

_log = get_logger(__name__)

#: Actions that are kept, about; older ones are in the gateway's log only.
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Actions, newest first, and where the next page begins."""

    events: tuple[AuditEvent, ...]
    next_cursor: str | None


class AuditLog:
    """Writes and reads the stream."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state

    async def record(self, who: Principal, action: str, target: str, detail: str = "") -> None:
        """Keep one action that has been done; a full Redis leaves it to the log alone."""
        event = AuditEvent(
            time_ms=int(time.time() * 1000),
            user=who.user,
            key_id=who.key_id,
            action=action,
            target=target,
            detail=detail,
        )
        _log.info("admin_action", action=action, target=target, detail=detail, user=who.user, key_id=who.key_id)
        try:
            await self._redis.xadd(keys.AUDIT, {"e": event.model_dump_json()}, maxlen=KEPT, approximate=True)
        except redis.exceptions.OutOfMemoryError:
            # What makes room is done all the same.
            _log.warning("audit_event_not_kept", action=action, target=target)

    async def page(self, limit: int, cursor: str | None) -> AuditPage:
        """Return actions from before a cursor, newest first."""
        newest = f"({cursor}" if cursor else "+"
        entries = cast(
            list[tuple[bytes, dict[bytes, bytes]]],
            await self._redis.xrevrange(keys.AUDIT, max=newest, min="-", count=limit),
        )
        events = tuple(AuditEvent.model_validate_json(fields[b"e"]) for _, fields in entries)
        return AuditPage(events, entries[-1][0].decode() if len(entries) == limit else None)
