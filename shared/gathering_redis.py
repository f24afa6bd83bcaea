"""A Redis client that sends what many tasks ask for in one moment as one round trip.

A burst of questions makes the same calls in step, and most of what a call costs is the round trip itself: a connection,
a write, a read, two turns of the event loop. So the commands that are issued in one turn of the loop go as one
pipeline. Every caller gets its own answer or its own error, and a task's commands keep their order, because it waits
for one before it issues the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio

#: Most commands of one pipeline: Redis works on it without a look at other clients.
MOST_IN_ONE_TRIP = 128


@dataclass(frozen=True, slots=True)
class _Asked:
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]


class GatheringRedis(redis.asyncio.Redis):
    """An ordinary client for everything but commands that block, which would hold up the others of their moment.

    A caller that is cancelled gets no answer; its command is carried out all the same, as one is whose answer was on
    its way.
    """

    _asked: list[_Asked]
    _trips: set[asyncio.Task[None]]

    def __init__(self, **options: Any) -> None:
        """Take what :class:`redis.asyncio.Redis` takes."""
        super().__init__(**options)
        self._asked = []
        self._trips = set()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command with those of the same moment and return its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._set_out)
        self._asked.append(_Asked(args, options, answer))
        return await answer

    def _set_out(self) -> None:
        asked, self._asked = self._asked, []
        for first in range(0, len(asked), MOST_IN_ONE_TRIP):
            trip = asyncio.create_task(self._travel(asked[first : first + MOST_IN_ONE_TRIP]))
            self._trips.add(trip)
            trip.add_done_callback(self._trips.discard)

    async def _travel(self, asked: Sequence[_Asked]) -> None:
        try:
            answers = await self._answers(asked)
        except asyncio.CancelledError:
            for one in asked:
                one.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are awaited
            answers = [error] * len(asked)
        for one, answer in zip(asked, answers, strict=True):
            if one.answer.done():
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)

    async def _answers(self, asked: Sequence[_Asked]) -> list[object]:
        if len(asked) == 1:
            alone = asked[0]
            return [await super().execute_command(*alone.arguments, **alone.options)]  # type: ignore[no-untyped-call]
        async with self.pipeline(transaction=False) as pipeline:
            for one in asked:
                pipeline.execute_command(*one.arguments, **one.options)
            return await pipeline.execute(raise_on_error=False)
