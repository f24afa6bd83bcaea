"""Waiting for a Redis that is away or full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.log import get_logger
from shared.redis_client import AWAY, is_full

_log = get_logger(__name__)
_Result = TypeVar("_Result")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Backoff:
    """Growing pauses between attempts; the first failure of a series is logged."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._pause_seconds = 0.0

    async def pause(self, error: BaseException) -> None:
        """Wait before the next attempt."""
        if not self._pause_seconds:
            _log.warning(
                "redis_full" if is_full(error) else "redis_away", doing=self._doing, error=type(error).__name__
            )
        self._pause_seconds = min(max(self._pause_seconds * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(self._pause_seconds)

    def succeeded(self) -> None:
        """Start over with short pauses."""
        if self._pause_seconds:
            _log.info("redis_back", doing=self._doing)
        self._pause_seconds = 0.0


async def until_answered(doing: str, command: Callable[[], Awaitable[_Result]]) -> _Result:
    """Give an idempotent command again and again until Redis answers it."""
    backoff = Backoff(doing)
    while True:
        try:
            result = await command()
        except AWAY as error:
            await backoff.pause(error)
        else:
            backoff.succeeded()
            return result
