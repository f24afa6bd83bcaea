"""The loops that run beside an agent; one that breaks ends the agent with its error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from shared.tasks import end_tasks


class BackgroundLoops:
    """Coroutines that run until `end`; the first error of one is kept and told at once."""

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._on_broken = on_broken
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: list[BaseException] = []

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the others."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """End all of them. Raises what broke the first that broke."""
        await end_tasks(self._tasks)
        if self._broken:
            raise self._broken[0]

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.append(error)
            self._on_broken()
