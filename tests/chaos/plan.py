"""What is going to be killed, in which order and with what pauses: all of it follows from the seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.helpers.drawing import drawn_kinds

Kind = Literal["replica", "agent", "gateway", "redis", "stop", "hang"]
Phase = Literal["any", "prefill", "decode"]

#: Of a run on sample engines, how often each kind comes.
SAMPLE_WEIGHTS: Mapping[Kind, int] = {"replica": 7, "agent": 4, "gateway": 4, "redis": 2, "stop": 2, "hang": 1}
#: On real engines everything hits an engine that computes.
REAL_WEIGHTS: Mapping[Kind, int] = {"replica": 7, "agent": 4, "stop": 1, "hang": 1}


@dataclass(frozen=True, slots=True)
class Kill:
    """One event: after `pause_seconds`, `kind` happens to something, which is back `away_seconds` later."""

    kind: Kind
    pause_seconds: float
    away_seconds: float
    phase: Phase = "any"


def plan_kills(
    count: int, seed: int, weights: Mapping[Kind, int], *, mean_pause_seconds: float, phases: tuple[Phase, ...]
) -> list[Kill]:
    """Return the events of a run; every kind comes once where there are enough of them."""
    dice = random.Random(f"plan {seed}")
    return [
        Kill(
            kind,
            pause_seconds=dice.uniform(0.2, 2 * mean_pause_seconds - 0.2),
            # A stopped worker comes back after it was declared lost, or just about then.
            away_seconds=dice.uniform(6, 12) if kind == "stop" else dice.uniform(0.2, 2),
            phase=phases[number % len(phases)],
        )
        for number, kind in enumerate(drawn_kinds(dice, weights, count))
    ]
