"""Ending asyncio tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

#: Seconds after which a task that goes on in spite of being cancelled is cancelled again.
AGAIN_SECONDS = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and return once all have ended, whatever they end with.

    Once is not enough: a Redis call that is cancelled in the moment in which its connection fails may raise the failure
    and lose the cancellation, and a loop that takes failures for passing goes on.
    """
    open_tasks = {task for task in tasks if not task.done()}
    while open_tasks:
        for task in open_tasks:
            task.cancel()
        _, open_tasks = await asyncio.wait(open_tasks, timeout=AGAIN_SECONDS)
