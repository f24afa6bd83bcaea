"""When requests are sent: by clients that wait for their answers, or at a rate that waits for nobody."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.client.bench.sample import Sample

#: Sends request ``number`` over connection ``place``, intended at a moment of ``time.perf_counter``.
Ask = Callable[[int, int, float], Awaitable[Sample]]
#: What a client that was refused waits before its next question, so that it asks and does not hammer.
PAUSE_AFTER_REFUSAL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Bound:
    """When to send nothing new: after a number of requests, or after a time; what is open is waited for."""

    requests: int | None = None
    seconds: float | None = None


class LoadShape(ABC):
    """One step of a load."""

    #: Connections that it asks over.
    places: int

    @abstractmethod
    async def run(self, ask: Ask, first_number: int = 0) -> None:
        """Send requests until the bound is reached, and wait for the last answer."""


class ClosedLoop(LoadShape):
    """So many clients, each with one question at a time."""

    def __init__(self, concurrency: int, bound: Bound) -> None:
        self.places = concurrency
        self._bound = bound

    async def run(self, ask: Ask, first_number: int = 0) -> None:
        numbers = itertools.count()
        begun = time.perf_counter()

        async def client(place: int) -> None:
            while True:
                now = time.perf_counter()
                if self._bound.seconds is not None and now - begun >= self._bound.seconds:
                    return
                number = next(numbers)
                if self._bound.requests is not None and number >= self._bound.requests:
                    return
                sample = await ask(first_number + number, place, now)
                if sample.failure is not None:
                    await asyncio.sleep(PAUSE_AFTER_REFUSAL_SECONDS)

        async with asyncio.TaskGroup() as clients:
            for place in range(self.places):
                clients.create_task(client(place))


class OpenLoop(LoadShape):
    """Poisson arrivals at a mean rate, whatever becomes of the questions before."""

    def __init__(self, rate_per_second: float, bound: Bound, *, places: int, seed: int = 0) -> None:
        self.places = places
        self._rate_per_second = rate_per_second
        self._bound = bound
        self._seed = seed

    async def run(self, ask: Ask, first_number: int = 0) -> None:
        arrivals = random.Random(self._seed)
        begun = intended_at = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            for number in itertools.count():
                intended_at += arrivals.expovariate(self._rate_per_second)
                if self._bound.requests is not None and number >= self._bound.requests:
                    return
                if self._bound.seconds is not None and intended_at - begun > self._bound.seconds:
                    return
                # Also where it is late already: the answers must be read.
                await asyncio.sleep(max(0.0, intended_at - time.perf_counter()))
                requests.create_task(_asked(ask, first_number + number, number % self.places, intended_at))


async def _asked(ask: Ask, number: int, place: int, intended_at: float) -> None:
    await ask(number, place, intended_at)
