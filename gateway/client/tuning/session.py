"""Measures candidates in turn with the default, until all are measured or the time is over."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.client.tuning.candidate_process import CandidateProcess
from gateway.client.tuning.candidates import STEP_TOKENS, Candidate, candidates
from gateway.client.tuning.measurement import Measurement, best_of, best_parts
from shared.errors import PlatformError
from shared.schemas.engine_config import EngineConfig, TuningMode
from shared.schemas.tuning import CandidateReady, RoundFigures

#: How often the best of a mode is measured again; after rounds that were lucky, another one is the best.
_MOST_CONFIRMATIONS = 3
#: Tokens of each fixed text's continuation that candidates are asked to say again.
_GUARD_TOKENS = 12


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """What is tuned, for what, and how long."""

    variant: str
    device: str
    modes: tuple[TuningMode, ...]
    seconds: float
    rounds: int
    only: tuple[str, ...]
    store: Path


@dataclass(frozen=True, slots=True)
class _Guard:
    """What the default says, and how much of it the default says again."""

    continuations: tuple[tuple[int, ...], ...]
    own_agreement: float


@dataclass(slots=True)
class TuningSession:
    """`measured` and `default_rounds` grow while it runs, so that what was measured is there when it is broken off."""

    plan: TuningPlan
    facts: CandidateReady | None = None
    measured: list[Measurement] = field(default_factory=list)
    default_rounds: list[RoundFigures] = field(default_factory=list)
    left_out: list[Candidate] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _seconds_each: list[float] = field(default_factory=list)
    _round: int = 0

    async def run(self) -> None:
        """Measure.

        Raises:
            Unavailable: the variant cannot be loaded with the defaults, or its process ended.
        """
        self._tell(f"loading {self.plan.variant} with the defaults")
        async with self._process("the default", EngineConfig()) as default:
            self.facts = default.facts
            said = await default.continuations(_GUARD_TOKENS)
            guard = _Guard(said, await default.agreement(said))
            await default.measure(0)
            wanted = candidates(default.facts, device=self.plan.device, only=self.plan.only)
            for number, candidate in enumerate(wanted, 1):
                if self._left_seconds() < self._needed_seconds():
                    self.left_out = wanted[number - 1 :]
                    self._tell(f"the time is over: {len(self.left_out)} candidates are not measured")
                    break
                await self._measure_new(candidate, f"{number}/{len(wanted)}", default, guard)
            for mode in self.plan.modes:
                together = best_parts(self.measured, mode)
                if together is not None and all(one.candidate != together for one in self.measured):
                    await self._measure_new(together, f"together for {mode}", default, guard)
            for mode in self.plan.modes:
                await self._confirm(mode, default, guard)

    def best(self, mode: TuningMode) -> Measurement | None:
        """Return what is best of all that was measured; none where that is the default."""
        return best_of(self.measured, mode)

    async def _confirm(self, mode: TuningMode, default: CandidateProcess, guard: _Guard) -> None:
        for _ in range(_MOST_CONFIRMATIONS):
            best = self.best(mode)
            if best is None or len(best.rounds) > self.plan.rounds:
                return
            await self._measure(best, f"again for {mode}", default, guard)

    async def _measure_new(self, candidate: Candidate, place: str, default: CandidateProcess, guard: _Guard) -> None:
        measurement = Measurement(candidate)
        self.measured.append(measurement)
        await self._measure(measurement, place, default, guard)

    async def _measure(self, measurement: Measurement, place: str, default: CandidateProcess, guard: _Guard) -> None:
        begun = time.monotonic()
        candidate = measurement.candidate
        try:
            async with self._process(candidate.label, self._complete(candidate)) as process:
                measurement.agreement = await process.agreement(guard.continuations)
                measurement.check_agreement(guard.own_agreement)
                if measurement.rejected is None:
                    await self._rounds(measurement, default, process)
        except PlatformError as error:
            measurement.rejected = f"fails: {error.message}"
        if self.facts is not None and measurement.rejected is None:
            measurement.check_steps(self.facts.step_target_ms)
        self._seconds_each.append(time.monotonic() - begun)
        self._tell(f"{place} {candidate.label}: {self._result(measurement)}")

    async def _rounds(self, measurement: Measurement, default: CandidateProcess, process: CandidateProcess) -> None:
        await process.measure(0)
        for _ in range(self.plan.rounds):
            # Prompts of an earlier candidate's rounds would be in the default's prefix cache.
            self._round += 1
            number = self._round
            # Who is first changes, and nobody computes beside the other.
            pair: Sequence[CandidateProcess] = (default, process) if number % 2 else (process, default)
            found = {one: await one.measure(number) for one in pair}
            self.default_rounds.append(found[default])
            measurement.rounds.append((found[process], found[default]))

    def _complete(self, candidate: Candidate) -> EngineConfig:
        """The default's step size is measured once, and holds for all that say nothing of it."""
        assert self.facts is not None
        if STEP_TOKENS in candidate.groups or not self.facts.max_num_batched_tokens:
            return candidate.config
        return candidate.config.model_copy(update={STEP_TOKENS: self.facts.max_num_batched_tokens})

    def _process(self, label: str, config: EngineConfig) -> CandidateProcess:
        plan = self.plan
        return CandidateProcess(label, config, store=plan.store, variant=plan.variant, device=plan.device)

    def _needed_seconds(self) -> float:
        """For one more candidate; where some helped, also for all of them together and for the best once more."""
        each = statistics.median(self._seconds_each) if self._seconds_each else 0.0
        return each * (1 + 2 * sum(self.best(mode) is not None for mode in self.plan.modes))

    def _left_seconds(self) -> float:
        return self.plan.seconds - (time.monotonic() - self._begun)

    def _result(self, measurement: Measurement) -> str:
        if measurement.rejected is not None:
            return measurement.rejected
        figures = measurement.figures()
        return (
            f"one chat ×{figures.one_chat_ratio:.2f}, 16 chats ×{figures.many_chats_ratio:.2f}, "
            f"first token ×{figures.first_token_ratio:.2f}"
        )

    def _tell(self, line: str) -> None:
        spent = time.monotonic() - self._begun
        print(f"[{spent:4.0f} s of {self.plan.seconds:.0f}] {line}", file=sys.stderr, flush=True)
