"""What was measured of a candidate, and which one is best."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.client.tuning.candidates import STEP_TOKENS, Candidate, combined
from shared.schemas.engine_config import TuningFigures, TuningMode
from shared.schemas.tuning import RoundFigures

#: Less than this much better than the default is the noise of a host.
LEAST_GAIN = 1.03
#: Where other processes slow a host now and then, a median alone is luck: so many of the rounds have to be faster.
_LEAST_WON = 0.75
#: How much less of the default's tokens a candidate may say than the default itself. Rounding alone moved 0.11 of a
#: small model's tokens between bfloat16 and float32; what is computed wrongly says next to none of them.
MOST_DISAGREEMENT = 0.25
#: A step may take so many times its target.
_MOST_STEP_TARGETS = 2.0


@dataclass(slots=True, eq=False)
class Measurement:
    """Rounds of a candidate, each with the default's of the same moment; `rejected` says why it is out."""

    candidate: Candidate
    rounds: list[tuple[RoundFigures, RoundFigures]] = field(default_factory=list)
    agreement: float | None = None
    rejected: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it was measured and may be chosen."""
        return bool(self.rounds) and self.rejected is None

    def figures(self) -> TuningFigures:
        """Return medians and their ratios to the default; above 1 is better, for times as well."""
        return TuningFigures(
            one_chat_tokens_per_second=self._median(lambda own, _: own.one_chat_tokens_per_second, 2),
            many_chats_tokens_per_second=self._median(lambda own, _: own.many_chats_tokens_per_second, 2),
            first_token_ms=self._median(lambda own, _: own.first_token_ms, 1),
            one_chat_ratio=self._median(
                lambda own, other: own.one_chat_tokens_per_second / other.one_chat_tokens_per_second
            ),
            many_chats_ratio=self._median(
                lambda own, other: own.many_chats_tokens_per_second / other.many_chats_tokens_per_second
            ),
            first_token_ratio=self._median(lambda own, other: other.first_token_ms / own.first_token_ms),
        )

    def score(self, mode: TuningMode) -> float:
        """How much better than the default, all in all: speed first, then the time to the first token."""
        figures = self.figures()
        if mode == "latency":
            return float(figures.one_chat_ratio**0.7 * figures.first_token_ratio**0.3)
        return float(figures.many_chats_ratio**0.8 * figures.first_token_ratio**0.2)

    def gains(self, mode: TuningMode) -> bool:
        """Whether it is better than the default by more than chance."""
        if not self.counts or self.score(mode) < LEAST_GAIN:
            return False
        won = sum(_speed(own, mode) > _speed(other, mode) for own, other in self.rounds)
        return won >= _LEAST_WON * len(self.rounds)

    def check_agreement(self, own: float) -> None:
        """Reject it where it says too little of what the default says; `own` is the default's share of itself."""
        if self.agreement is not None and self.agreement < own - MOST_DISAGREEMENT:
            self.rejected = f"says only {self.agreement:.0%} of the default's tokens"

    def check_steps(self, target_ms: float) -> None:
        """Reject larger steps that keep the other chats waiting."""
        if STEP_TOKENS not in self.candidate.groups or not self.rounds:
            return
        longest = self._median(lambda own, _: own.longest_step_ms)
        default = self._median(lambda _, other: other.longest_step_ms)
        if longest > max(_MOST_STEP_TARGETS * target_ms, LEAST_GAIN * default):
            self.rejected = f"steps of {longest:.0f} ms keep other chats waiting"

    def _median(self, value: Callable[[RoundFigures, RoundFigures], float], digits: int = 3) -> float:
        return round(statistics.median(value(own, other) for own, other in self.rounds), digits)


def _speed(figures: RoundFigures, mode: TuningMode) -> float:
    return figures.one_chat_tokens_per_second if mode == "latency" else figures.many_chats_tokens_per_second


def best_parts(measured: Sequence[Measurement], mode: TuningMode) -> Candidate | None:
    """Return the best value of each name together, where more than one name gained something."""
    best: dict[tuple[str, ...], Measurement] = {}
    for one in measured:
        if not one.gains(mode):
            continue
        rival = best.get(one.candidate.groups)
        if rival is None or one.score(mode) > rival.score(mode):
            best[one.candidate.groups] = one
    parts = sorted(best.values(), key=lambda one: one.score(mode))
    return combined([one.candidate for one in parts]) if len(parts) > 1 else None


def best_of(measured: Sequence[Measurement], mode: TuningMode) -> Measurement | None:
    """Return the best of all, none where nothing is better than the default."""
    better = [one for one in measured if one.gains(mode)]
    return max(better, key=lambda one: one.score(mode), default=None)
