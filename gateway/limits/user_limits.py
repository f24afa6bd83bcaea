"""The one place where a user's own limits are held against a generation that is to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import cast

from gateway.limits.limits import Limits
from gateway.principal import Principal
from gateway.usage.store import UsageStore
from shared.errors import InvalidRequest, QuotaExceeded, RateLimited
from shared.redis_client import AsyncRedis
from shared.scripts import load_script

#: When one who has to wait for a generation of his own may try again; nobody knows when it ends.
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    """The settings' limits of a user whose key says nothing; 0 is unlimited."""

    max_concurrent: int
    requests_per_minute: int
    tokens_per_day: int


class UserLimits:
    """Admits generations within their user's limits.

    What waits and runs is counted from the generations themselves, in Redis: their end gives the place back, whichever
    gateway lives to see it. Each reserves what it may use of the day's tokens until the finalizer has counted what it
    did use, so that many at once cannot overshoot the day together. One that runs alone may: it is let in while any
    token is left, and nobody knows the length of its answer.
    """

    def __init__(self, transport: AsyncRedis, usage: UsageStore, defaults: DefaultLimits) -> None:
        self._usage = usage
        self._defaults = defaults
        self._admit = load_script(transport, "admit")
        self._give_back = load_script(transport, "give_back")

    async def admit(self, principal: Principal, tokens: Mapping[str, int]) -> bool:
        """Admit the generations of one request, all or none, and keep their places for 15 s until they are queued.

        Doing it again for the same ids costs nothing, and reserves the tokens that are named then.

        Returns:
            False where every one was admitted before.

        Args:
            principal: whose they are.
            tokens: how many each generation may use, by its id.

        Raises:
            InvalidRequest: it has more answers than may ever run at once.
            RateLimited: too many at once, too many requests in the last 60 s, or those at work may use up the day.
            QuotaExceeded: the tokens of the day are spent, or too few for several answers.
        """
        limits = self._of(principal.limits)
        outcome, detail = cast(
            tuple[bytes, int],
            await self._admit(
                args=[
                    principal.user,
                    limits.max_concurrent,
                    limits.requests_per_minute,
                    int(limits.tokens_per_day > 0),
                    *(part for generation in tokens.items() for part in generation),
                ]
            ),
        )
        if outcome == b"in_hand" and len(tokens) > limits.max_concurrent:
            raise InvalidRequest(
                f"The request asks for {len(tokens)} answers, and you may have {limits.max_concurrent} at once. "
                "Ask for fewer.",
                param="n",
            )
        if outcome == b"in_hand":
            raise RateLimited(
                f"{detail} of your generations wait or run, and you may have {limits.max_concurrent}. "
                "Wait for one to end.",
                retry_after_seconds=RETRY_SECONDS,
            )
        if outcome == b"minute":
            raise RateLimited(
                f"You may begin {limits.requests_per_minute} generations in a minute. Wait for a moment.",
                retry_after_seconds=detail / 1000,
            )
        if outcome == b"ok" and limits.tokens_per_day:
            await self._hold_to_day(principal.user, limits.tokens_per_day, tokens, reserved_by_others=detail)
        return outcome == b"ok"

    def limits_tokens(self, principal: Principal) -> bool:
        """Tell whether a user's tokens of a day are limited."""
        return self._of(principal.limits).tokens_per_day > 0

    async def give_back(self, user: str, *generation_ids: str) -> None:
        """Give the places back of what was admitted and then refused; what is queued keeps its place."""
        await self._give_back(args=[user, *generation_ids])

    def _of(self, limits: Limits) -> DefaultLimits:
        """Return the limits that hold: the key's where it has them, the settings' else."""
        own, default = limits, self._defaults
        return DefaultLimits(
            max_concurrent=default.max_concurrent if own.max_concurrent is None else own.max_concurrent,
            requests_per_minute=(
                default.requests_per_minute if own.requests_per_minute is None else own.requests_per_minute
            ),
            tokens_per_day=default.tokens_per_day if own.tokens_per_day is None else own.tokens_per_day,
        )

    async def _hold_to_day(
        self, user: str, tokens_per_day: int, tokens: Mapping[str, int], *, reserved_by_others: int
    ) -> None:
        """Take an admission back that the day's tokens may not suffice for.

        What is spent is read after the reservations: a generation that is counted in between is in both, never in none.
        """
        left = tokens_per_day - await self._usage.tokens_of_today(user)
        wanted = sum(tokens.values())
        is_alone = reserved_by_others == 0 and len(tokens) == 1
        if left > 0 and (is_alone or wanted + reserved_by_others <= left):
            return
        await self.give_back(user, *tokens)
        if left > 0 and reserved_by_others:
            raise RateLimited(
                "Your generations that wait or run may use up your tokens of this day. Wait for one to end, "
                "or ask for a shorter answer.",
                retry_after_seconds=RETRY_SECONDS,
            )
        now = await self._usage.now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
        raise QuotaExceeded(
            f"{len(tokens)} answers may take {wanted:,} tokens, and you have {left:,} left of this day (UTC)."
            if left > 0
            else f"Your {tokens_per_day:,} tokens of this day (UTC) are spent.",
            retry_after_seconds=(midnight - now).total_seconds(),
        )
