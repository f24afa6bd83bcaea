"""Sessions of the page: a random cookie that stands for a key, so that the page need not keep the key itself."""

from __future__ import annotations

import secrets
import time
from typing import cast

from gateway.users.keys import BELIEF_SECONDS, REMEMBERED, digest_of
from shared import keys
from shared.redis_client import AsyncRedis
from shared.scripts import load_script

#: A session ends this long after its sign-in.
SESSION_SECONDS = 7 * 24 * 3600
#: Sessions of one user; one more ends the oldest, so that a script which signs in and never out fills no memory.
MOST_SESSIONS = 100


class SessionStore:
    """Sessions in the state Redis, known by their token's SHA-256; each ends with its key."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state
        self._begin = load_script(state, "begin_session")
        self._found: dict[str, tuple[float, str]] = {}

    async def create(self, user: str, key_digest: str) -> str:
        """Begin a session of a key; return its token, which only the cookie holds."""
        token = secrets.token_urlsafe(32)
        name, theirs = keys.session(digest_of(token)), keys.user_sessions(user)
        # With its fraction: of two that begin in one millisecond the later one must count as later.
        now_ms = time.time() * 1000
        await self._begin(args=[name, theirs, key_digest, now_ms, SESSION_SECONDS, MOST_SESSIONS])
        return token

    async def key_digest(self, token: str) -> str | None:
        """Return which key a session stands for; None where it has ended."""
        name = keys.session(digest_of(token))
        remembered = self._found.get(name)
        now = time.monotonic()
        if remembered is not None and now - remembered[0] < BELIEF_SECONDS:
            return remembered[1]
        raw = cast(bytes | None, await self._redis.get(name))
        if raw is None:
            self._found.pop(name, None)
            return None
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[name] = (now, raw.decode())
        return raw.decode()

    async def end(self, user: str, token: str) -> None:
        """End one session."""
        name = keys.session(digest_of(token))
        self._found.pop(name, None)
        # No transaction: a full Redis would refuse it.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(name)
            pipeline.zrem(keys.user_sessions(user), name)
            await pipeline.execute()

    async def end_all(self, user: str) -> None:
        """End every session of a user."""
        self._found.clear()
        names = cast(list[bytes], await self._redis.zrange(keys.user_sessions(user), 0, -1))
        await self._redis.delete(keys.user_sessions(user), *names)
