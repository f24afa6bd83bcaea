"""The end of a user: keys, sessions, running generations, chats and usage."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.chats.store import ChatStore
from gateway.usage.store import UsageStore
from gateway.users.credential_watch import WATCH_SECONDS
from gateway.users.keys import BELIEF_SECONDS, KeyStore
from gateway.users.sessions import SessionStore
from shared import keys
from shared.errors import NotFound
from shared.redis_client import AsyncRedis
from shared.waiting_queue import WaitingQueue

#: Seconds after which no gateway believes a key or lets a socket or a stream live that a key opened.
LEASE_SECONDS = 2 * BELIEF_SECONDS + WATCH_SECONDS
#: How often it is looked whether what was cancelled has ended, for five seconds: a worker that is lost ends nothing.
COUNT_LOOKS = 100
COUNT_LOOK_SECONDS = 0.05


class Erasure:
    """Forgets users. What a journal still holds of their answers expires by itself a while after its end."""

    def __init__(
        self,
        api_keys: KeyStore,
        sessions: SessionStore,
        chats: ChatStore,
        usage: UsageStore,
        queue: WaitingQueue,
        state: AsyncRedis,
        transport: AsyncRedis,
    ) -> None:
        self._api_keys = api_keys
        self._sessions = sessions
        self._chats = chats
        self._usage = usage
        self._queue = queue
        self._state = state
        self._transport = transport

    async def erase(self, user: str) -> None:
        """Forget a user; again where an earlier try was broken off.

        It takes two seconds: until nothing of theirs can begin, and what ran has ended.

        Raises:
            NotFound: there is no such user.
            Conflict: no admin could come in any more; nothing was done.
        """
        try:
            await self._api_keys.erase_user(user)
        except NotFound:
            if not await self._state.exists(keys.chats_of(user), keys.usage_days(user), keys.user_sessions(user)):
                raise
        # Other gateways believe what they looked up for a moment longer, and a chat may begin in it. What is open ends
        # meanwhile by itself, and says why.
        await asyncio.sleep(LEASE_SECONDS)
        await self._sessions.end_all(user)
        in_hand = cast(list[bytes], await self._transport.zrange(keys.in_hand(user), 0, -1))
        for generation_id in (*map(bytes.decode, in_hand), *await self._chats.erase_user(user)):
            await self._queue.cancel(generation_id, user)
        await self._wait_for_counts(user)
        await self._transport.delete(keys.in_hand(user), keys.begun_in_minute(user), keys.reserved_tokens(user))
        await self._usage.erase(user)

    async def _wait_for_counts(self, user: str) -> None:
        """Let the ends of what was cancelled be counted first, or usage would appear again after it was erased."""
        for _ in range(COUNT_LOOKS):
            # A generation reserves tokens until it is counted.
            if not await self._transport.hlen(keys.reserved_tokens(user)):
                return
            await asyncio.sleep(COUNT_LOOK_SECONDS)
