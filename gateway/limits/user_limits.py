"""The one place where a user's own limits are held against a generation that is to begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import cast

from gateway.limits.limits import Limits
from gateway.principal import Principal
from gateway.usage.store import UsageStore
from shared.errors import QuotaExceeded, RateLimited
from shared.redis_client import AsyncRedis
from shared.scripts import load_script

#: When a user with too many generations at once may try again; nobody knows when one of them ends.
AT_ONCE_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    """The settings' limits of a user whose key says nothing; 0 is unlimited."""

    max_concurrent: int
    requests_per_minute: int
    tokens_per_day: int


class UserLimits:
    """Admits generations within their user's limits.

    What waits and runs is counted from the generations themselves, in Redis: their end gives the place back, whichever
    gateway lives to see it.
    """

    def __init__(self, transport: AsyncRedis, usage: UsageStore, defaults: DefaultLimits) -> None:
        self._usage = usage
        self._defaults = defaults
        self._admit = load_script(transport, "admit")
        self._give_back = load_script(transport, "give_back")

    async def admit(self, principal: Principal, *generation_ids: str) -> None:
        """Admit the generations of one request, all or none, and keep their places for 15 s until they are queued.

        Doing it again for the same ids costs nothing.

        Raises:
            RateLimited: too many at once, or too many requests in the last 60 s.
            QuotaExceeded: the tokens of the day are spent.
        """
        limits = self.of(principal.limits)
        await self._refuse_spent(principal.user, limits.tokens_per_day)
        outcome, detail = cast(
            tuple[bytes, int],
            await self._admit(
                args=[principal.user, limits.max_concurrent, limits.requests_per_minute, *generation_ids]
            ),
        )
        if outcome == b"in_hand":
            raise RateLimited(
                f"{detail} of your generations wait or run, and you may have {limits.max_concurrent}. "
                "Wait for one to end.",
                retry_after_seconds=AT_ONCE_RETRY_SECONDS,
            )
        if outcome == b"minute":
            raise RateLimited(
                f"You may begin {limits.requests_per_minute} generations in a minute. Wait for a moment.",
                retry_after_seconds=detail / 1000,
            )

    async def give_back(self, user: str, *generation_ids: str) -> None:
        """Give the places back of what was admitted and then refused; what is queued keeps its place."""
        await self._give_back(args=[user, *generation_ids])

    def of(self, limits: Limits) -> DefaultLimits:
        """Return the limits that hold: the key's where it has them, the settings' else."""
        own, default = limits, self._defaults
        return DefaultLimits(
            max_concurrent=default.max_concurrent if own.max_concurrent is None else own.max_concurrent,
            requests_per_minute=(
                default.requests_per_minute if own.requests_per_minute is None else own.requests_per_minute
            ),
            tokens_per_day=default.tokens_per_day if own.tokens_per_day is None else own.tokens_per_day,
        )

    async def _refuse_spent(self, user: str, tokens_per_day: int) -> None:
        if tokens_per_day == 0 or await self._usage.tokens_of_today(user) < tokens_per_day:
            return
        now = await self._usage.now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
        raise QuotaExceeded(
            f"Your {tokens_per_day:,} tokens of this day (UTC) are spent.",
            retry_after_seconds=(midnight - now).total_seconds(),
        )
