"""Measures candidates in turn with the default, until all are measured or the time is over."""

from __future__ import annotations

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


@dataclass(slots=True)
class TuningSession:
    """`measured` and `default_rounds` grow while it runs, so that what was measured is there when it is broken off."""

    plan: TuningPlan
    facts: CandidateReady | None = None
    measured: list[Measurement] = field(default_factory=list)
    default_rounds: list[RoundFigures] = field(default_factory=list)
    left_out: list[Candidate] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _longest_seconds: float = 0.0

    async def run(self) -> None:
        """Measure.

        Raises:
            Unavailable: the variant cannot be loaded with the defaults, or its process ended.
        """
        self._tell(f"loading {self.plan.variant} with the defaults")
        async with self._process("the default", EngineConfig()) as default:
            self.facts = default.facts
            said = await default.continuations(_GUARD_TOKENS)
            own = await default.agreement(said)
            await default.measure(0)
            wanted = candidates(default.facts, device=self.plan.device, only=self.plan.only)
            for number, candidate in enumerate(wanted, 1):
                # A candidate of everything that helped is measured in the end for each mode.
                if self._left_seconds() < self._longest_seconds * (1 + len(self.plan.modes)):
                    self.left_out = wanted[number - 1 :]
                    self._tell(f"the time is over: {len(self.left_out)} candidates are not measured")
                    break
                await self._measure(candidate, f"{number}/{len(wanted)}", default, said, own)
            for mode in self.plan.modes:
                together = best_parts(self.measured, mode)
                if together is not None and all(one.candidate != together for one in self.measured):
                    await self._measure(together, f"together for {mode}", default, said, own)

    def best(self, mode: TuningMode) -> Measurement | None:
        """Return what is best of all that was measured; none where that is the default."""
        return best_of(self.measured, mode)

    async def _measure(
        self,
        candidate: Candidate,
        place: str,
        default: CandidateProcess,
        said: tuple[tuple[int, ...], ...],
        own: float,
    ) -> None:
        begun = time.monotonic()
        measurement = Measurement(candidate)
        self.measured.append(measurement)
        try:
            async with self._process(candidate.label, self._complete(candidate)) as process:
                measurement.agreement = await process.agreement(said)
                measurement.check_agreement(own)
                if measurement.rejected is None:
                    await self._rounds(measurement, default, process)
        except PlatformError as error:
            measurement.rejected = f"fails: {error.message}"
        if self.facts is not None and measurement.rejected is None:
            measurement.check_steps(self.facts.step_target_ms)
        self._longest_seconds = max(self._longest_seconds, time.monotonic() - begun)
        self._tell(f"{place} {candidate.label}: {self._result(measurement)}")

    async def _rounds(self, measurement: Measurement, default: CandidateProcess, process: CandidateProcess) -> None:
        await process.measure(0)
        for number in range(1, self.plan.rounds + 1):
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
