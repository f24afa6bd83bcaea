"""Runs steps of a load one after the other and keeps what each measured, also where one is broken off."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.client.bench.driver import Driver, Wish
from gateway.client.bench.load_shapes import Bound, ClosedLoop, LoadShape
from gateway.client.bench.progress import shown
from gateway.client.bench.prompts import MadeUpPrompts, Prompts, Question
from gateway.client.bench.report import StepReport
from gateway.client.bench.sample import Failure, Sample
from gateway.client.bench.step_report import step_report
from shared.errors import InternalError, PlatformError, Unavailable, error_types

#: Words of the two prompts whose token counts tell how many tokens a word has.
_FEW_WORDS, _MANY_WORDS = 8, 72


@dataclass(frozen=True, slots=True)
class Step:
    """One shape of load and how the report names it."""

    shape: LoadShape
    concurrency: int | None = None
    rate_per_second: float | None = None

    @property
    def label(self) -> str:
        if self.rate_per_second is not None:
            return f"{self.rate_per_second:g} requests/s"
        return f"{self.concurrency} at once"


@dataclass(slots=True)
class _Measured:
    step: Step
    started_at: float
    clock: float
    samples: list[Sample] = field(default_factory=list)


class Load:
    """Sends what the steps say over one driver; no two requests of a load have the same number."""

    def __init__(self, driver: Driver, prompts: Prompts, wish: Wish) -> None:
        self.prompts = prompts
        self._driver = driver
        self._wish = wish
        self._next_number = 0
        self._measured: list[_Measured] = []

    async def warm_up(self, requests: int) -> None:
        """Send requests that do not count: the first ones wait for the model to be loaded.

        Raises:
            PlatformError: none of them was answered; this is what the first was told.
        """
        samples: list[Sample] = []
        step = Step(ClosedLoop(min(requests, 8), Bound(requests=requests)), concurrency=min(requests, 8))
        async with shown("warming up", samples):
            await self._run(step, samples)
        if not any(sample.finished for sample in samples):
            raise _error(next(sample.failure for sample in samples if sample.failure is not None))

    async def lengthen_prompts(self, run: str, prompt_tokens: int) -> None:
        """Make the questions so long that they are about that many tokens, the chat template's own included.

        Raises:
            PlatformError: the gateway does not answer.
        """
        await self._driver.open(1)
        counted = []
        for words in (_FEW_WORDS, _MANY_WORDS):
            sample = Sample(time.perf_counter())
            question = MadeUpPrompts(f"{run}-length", filler_words=words).question(self._next_number)
            await self._driver.ask(0, question, Wish(self._wish.model, 1), sample)
            if sample.failure is not None:
                raise _error(sample.failure)
            if sample.prompt_tokens is None:
                raise InternalError("the gateway does not say how many tokens a prompt has")
            counted.append(sample.prompt_tokens)
        tokens_per_word = (counted[1] - counted[0]) / (_MANY_WORDS - _FEW_WORDS)
        wanted_words = _FEW_WORDS + (prompt_tokens - counted[0]) / max(tokens_per_word, 0.1)
        self.prompts = MadeUpPrompts(run, filler_words=max(0, round(wanted_words)))

    async def run(self, step: Step) -> Sequence[Sample]:
        """Run one step and return its requests, which also stand in :meth:`reports`, however it ends."""
        await self._driver.open(step.shape.places)
        measured = _Measured(step, time.time(), time.perf_counter())
        self._measured.append(measured)
        async with shown(step.label, measured.samples):
            await self._run(step, measured.samples)
        return measured.samples

    async def run_asked(self, step: Step) -> tuple[Sequence[Sample], list[Question]]:
        """Run one step; return its requests, and the questions that it asked."""
        first = self._next_number
        samples = await self.run(step)
        return samples, [self.prompts.question(number) for number in range(first, self._next_number)]

    def reports(self) -> tuple[StepReport, ...]:
        """The figures of the steps, the last of which may have been broken off."""
        return tuple(
            step_report(
                measured.samples,
                started_at=measured.started_at,
                clock=measured.clock,
                concurrency=measured.step.concurrency,
                rate_per_second=measured.step.rate_per_second,
            )
            for measured in self._measured
        )

    async def _run(self, step: Step, samples: list[Sample]) -> None:
        await self._driver.open(step.shape.places)

        async def ask(number: int, place: int, intended_at: float) -> Sample:
            sample = Sample(intended_at)
            samples.append(sample)
            await self._driver.ask(place, self.prompts.question(number), self._wish, sample)
            return sample

        first = self._next_number
        try:
            await step.shape.run(ask, first)
        finally:
            self._next_number = first + len(samples)


def _error(failure: Failure) -> PlatformError:
    return error_types().get(failure.code, Unavailable)(failure.message)
