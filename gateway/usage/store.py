"""Usage per user and UTC day, in the state Redis."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.schemas.usage import UsageDay
from shared.scripts import load_script

_EPOCH = date(1970, 1, 1)


class UsageStore:
    """Counts, and tells what was counted. Days are those of Redis' clock, in UTC."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state
        self._count = load_script(state, "count_usage")

    async def now(self) -> datetime:
        """Return the time by Redis' clock, whose days are counted."""
        return datetime.fromtimestamp(await redis_now_ms(self._redis) / 1000, UTC)

    async def count_generation(
        self,
        generation_id: str,
        user: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int | None = None,
    ) -> bool:
        """Count an ended generation; return False where it had been counted before."""
        amounts = {"generations": 1, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        if cached_tokens is not None:
            amounts["cached_tokens"] = cached_tokens
        return await self._add(generation_id, user, amounts)

    async def count_conversion(self, conversion_id: str, user: str) -> bool:
        """Count a conversion that was accepted; return False where it had been counted before."""
        return await self._add(conversion_id, user, {"conversions": 1})

    async def tokens_of_today(self, user: str) -> int:
        """Return the prompt and completion tokens that a user's generations of today took so far."""
        today = (await self.now()).date()
        fields = ("prompt_tokens", "completion_tokens")
        counts = cast(list[bytes | None], await self._redis.hmget(keys.usage(user, today.isoformat()), fields))
        return sum(int(count or 0) for count in counts)

    async def days(self, first: date, last: date, *, user: str | None = None) -> list[UsageDay]:
        """Return every user's days from first to last, or one user's; oldest first, days without use left out."""
        users: Iterable[str] = (user,) if user is not None else await self._users()
        wanted = tuple(users)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in wanted:
                pipeline.zrangebyscore(keys.usage_days(name), _number(first), _number(last))
            of_users = cast(list[list[bytes]], await pipeline.execute())
        found = sorted((day.decode(), name) for name, days in zip(wanted, of_users, strict=True) for day in days)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for day, name in found:
                pipeline.hgetall(keys.usage(name, day))
            counted = cast(list[dict[bytes, bytes]], await pipeline.execute())
        return [
            UsageDay(user=name, day=date.fromisoformat(day), **{f.decode(): int(n) for f, n in fields.items()})
            for (day, name), fields in zip(found, counted, strict=True)
        ]

    async def erase(self, user: str) -> None:
        """Forget what a user used."""
        days = cast(list[bytes], await self._redis.zrange(keys.usage_days(user), 0, -1))
        # No transaction: a full Redis would refuse it.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(keys.usage_days(user), *(keys.usage(user, day.decode()) for day in days))
            pipeline.srem(keys.USAGE_USERS, user)
            await pipeline.execute()

    async def _users(self) -> list[str]:
        return [name.decode() for name in cast(set[bytes], await self._redis.smembers(keys.USAGE_USERS))]

    async def _add(self, counted_id: str, user: str, amounts: dict[str, int]) -> bool:
        today = (await self.now()).date()
        fields = [part for field, amount in amounts.items() for part in (field, amount)]
        return bool(await self._count(args=[counted_id, user, today.isoformat(), _number(today), *fields]))


def _number(day: date) -> int:
    return (day - _EPOCH).days
