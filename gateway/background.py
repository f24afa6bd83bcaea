"""Loops that run as long as the gateway, and go on after Redis was away or full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shared.log import get_logger
from shared.redis_client import AWAY

_log = get_logger(__name__)

#: Pause before a loop that lost Redis asks again.
RECONNECT_SECONDS = 0.5


async def run_forever(name: str, step: Callable[[], Awaitable[None]], *, pause_seconds: float = 0.0) -> None:
    """Call ``step`` again and again, with a pause between; a failure is logged and the loop goes on."""
    was_away = False
    while True:
        try:
            await step()
            was_away = False
        except AWAY as error:
            if not was_away:
                _log.warning("loop_lost_redis", loop=name, reason=type(error).__name__)
            was_away = True
            await asyncio.sleep(RECONNECT_SECONDS)
        except Exception:  # noqa: BLE001 - logged whole
            # A loop that ends is worse than one that fails: deliveries, reaping and storing would stop silently.
            _log.exception("loop_failed", loop=name)
            await asyncio.sleep(RECONNECT_SECONDS)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
