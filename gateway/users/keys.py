"""API keys in the state Redis, known by their SHA-256 only.

A key is 256 random bits, so there is nothing to guess from its hash and a slow hash would only slow the gateway down.
A look-up is believed for half a second, so a revoked key ends on every gateway within a second, without a message
that could be lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from datetime import UTC, datetime
from typing import cast

import redis.exceptions

from shared import keys
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.redis_client import AsyncRedis
from shared.schemas.users import CreatedKey, KeyLimits, KeyRecord, NewKey, UserRecord
from shared.scripts import load_script

KEY_PREFIX = "ovk-"
#: Seconds for which a look-up is believed.
BELIEF_SECONDS = 0.5
#: Look-ups that are remembered at most.
REMEMBERED = 10_000


def digest_of(secret: str) -> str:
    """Return what a key or a session's token is known by."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key() -> str:
    """Return 256 random bits in a form that is recognised as a key of this platform."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


class KeyStore:
    """Reads and writes keys."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state
        self._change_limits = load_script(state, "change_key_limits")
        self._withdraw = load_script(state, "withdraw_keys")
        self._found: dict[str, tuple[float, KeyRecord]] = {}
        self._marked: dict[str, str] = {}

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the record of a key that may be used now."""
        remembered = self._found.get(digest)
        now = time.monotonic()
        if remembered is not None and now - remembered[0] < BELIEF_SECONDS:
            return remembered[1]
        raw = cast(bytes | None, await self._redis.hget(keys.API_KEYS, digest))
        record = None if raw is None else KeyRecord.model_validate_json(raw)
        if record is None or record.revoked:
            self._found.pop(digest, None)
            return None
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[digest] = (now, record)
        await self._mark_used(record.key_id)
        return record

    async def create(self, wish: NewKey) -> CreatedKey:
        """Make a key; the answer is the only place where it stands."""
        key = new_key()
        record = KeyRecord(key_id=new_id("key"), created_ms=int(time.time() * 1000), **wish.model_dump())
        await self._redis.hset(keys.API_KEYS, digest_of(key), record.model_dump_json(exclude={"last_used_day"}))
        return CreatedKey(key=key, **record.model_dump())

    async def all(self) -> list[KeyRecord]:
        """Return every key, revoked ones included, oldest first."""
        # No transaction: a full Redis would refuse it.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hvals(keys.API_KEYS)
            pipeline.hgetall(keys.API_KEYS_USED)
            raw, used = cast(tuple[list[bytes], dict[bytes, bytes]], tuple(await pipeline.execute()))
        records = []
        for one in raw:
            record = KeyRecord.model_validate_json(one)
            day = used.get(record.key_id.encode())
            records.append(record.model_copy(update={"last_used_day": day.decode() if day else None}))
        return sorted(records, key=lambda record: (record.created_ms, record.key_id))

    async def users(self) -> list[UserRecord]:
        """Return every user, oldest first; an admin is whoever has an admin's key that works."""
        by_user: dict[str, list[KeyRecord]] = {}
        for record in await self.all():
            by_user.setdefault(record.user, []).append(record)
        found = []
        for user, records in by_user.items():
            active = [record for record in records if not record.revoked]
            found.append(
                UserRecord(
                    user=user,
                    role="admin" if any(record.role == "admin" for record in active) else "user",
                    active_keys=len(active),
                    created_ms=records[0].created_ms,
                    last_used_day=max((record.last_used_day or "" for record in records), default="") or None,
                )
            )
        return found

    async def change_limits(self, key_id: str, changes: KeyLimits) -> KeyRecord:
        """Change the limits that are set in ``changes``; other gateways know within a second, open sockets too.

        Raises:
            NotFound: there is none of this id.
            Conflict: the key was revoked.
        """
        outcome = cast(bytes, await self._change_limits(args=[key_id, changes.model_dump_json(exclude_unset=True)]))
        self._found.clear()
        if outcome == b"not_found":
            raise _no_such_key(key_id)
        if outcome == b"revoked":
            raise Conflict("This key was revoked and has no limits any more.")
        day = cast(bytes | None, await self._redis.hget(keys.API_KEYS_USED, key_id))
        record = KeyRecord.model_validate_json(outcome)
        return record.model_copy(update={"last_used_day": day.decode() if day else None})

    async def revoke(self, key_id: str) -> None:
        """End a key for good.

        Raises:
            NotFound: there is none of this id.
            Conflict: no admin could come in any more.
        """
        await self._withdraw_or_raise("revoke", key_id, _no_such_key(key_id))

    async def erase_user(self, user: str) -> None:
        """Take every key of a user out.

        Raises:
            NotFound: there is no such user.
            Conflict: no admin could come in any more.
        """
        await self._withdraw_or_raise("erase", user, NotFound(f"There is no user {user!r}."))

    async def _withdraw_or_raise(self, how: str, name: str, unknown: NotFound) -> None:
        outcome = cast(bytes, await self._withdraw(args=[how, name]))
        # What this gateway itself has ended is not believed for a moment longer.
        self._found.clear()
        if outcome == b"not_found":
            raise unknown
        if outcome == b"last_admin":
            raise Conflict("This is the last admin's key that works. Make another admin's key first.")

    async def _mark_used(self, key_id: str) -> None:
        today = datetime.now(UTC).date().isoformat()
        if self._marked.get(key_id) != today:
            # A full Redis must let those in who can make room.
            with contextlib.suppress(redis.exceptions.OutOfMemoryError):
                await self._redis.hset(keys.API_KEYS_USED, key_id, today)
                self._marked[key_id] = today


def _no_such_key(key_id: str) -> NotFound:
    return NotFound(f"There is no key {key_id!r}.")
