"""Sets right what Redis believes of this worker after it has lost its last moments."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping

from inference_worker.redis_patience import until_answered
from inference_worker.slot_keeper import SlotKeeper
from shared.errors import WorkerLost
from shared.journal import Attempt
from shared.log import get_logger
from shared.registry import Registry
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)

#: An assignment is read within this time, or its reading has failed.
LOOK_SECONDS = 15.0


async def give_strays_back(
    registry: Registry,
    queue: WaitingQueue,
    *,
    worker_id: Callable[[], str],
    owned: Callable[[], Collection[str]],
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Let generations wait again that are this worker's by the registry and that it does not know, until cancelled.

    While it lives nobody else would look after them. One that was assigned just now may be on its way here: only what
    two looks find is given back, and if it comes after all, its attempt is refused.
    """
    seen: frozenset[Attempt] = frozenset()
    while True:
        await asyncio.sleep(look_seconds)
        worker = worker_id()
        assigned = await until_answered("strays", functools.partial(registry.assigned, worker))
        mine = owned()
        strays = frozenset(attempt for attempt in assigned if attempt.generation_id not in mine)
        for generation_id, attempt in strays & seen:
            _log.warning("generation_strayed", generation_id=generation_id, attempt=attempt)
            again = functools.partial(queue.requeue, worker, generation_id, attempt, "worker_lost")
            if await until_answered("strays", again) < 0:
                error = WorkerLost("Its workers lost the generation too often.")
                await until_answered("strays", functools.partial(queue.fail, generation_id, error, only_waiting=False))
        seen = strays


async def tell_idle_slots(
    idle_slots: Callable[[], Mapping[str, int]],
    registry: Registry,
    slots: SlotKeeper,
    *,
    worker_id: Callable[[], str],
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Set the registry's number afresh of what is idle and has fewer free slots there, until cancelled.

    Where Redis lost that slots were given back, nothing is assigned any more that could give one back again. What two
    looks find is no assignment that is on its way.
    """
    seen: set[str] = set()
    while True:
        await asyncio.sleep(look_seconds)
        low: set[str] = set()
        for variant, free in idle_slots().items():
            told = await until_answered("strays", functools.partial(registry.free_slots, worker_id(), variant))
            if (told or 0) < free:
                low.add(variant)
        for variant in low & seen:
            slots.publish(variant)
        seen = low
