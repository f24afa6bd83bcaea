"""What is going to be killed, in which order and with what pauses: all of it follows from the seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.helpers.drawing import drawn_kinds

Kind = Literal["child", "worker", "redis", "stop"]
WEIGHTS: Mapping[Kind, int] = {"child": 10, "worker": 10, "redis": 4, "stop": 3}


@dataclass(frozen=True, slots=True)
class Kill:
    """After `pause_seconds`, `kind` happens to something, which is back `away_seconds` later.

    `whole`: the converter's stage parent and children are hit with it, not left to notice.
    """

    kind: Kind
    pause_seconds: float
    away_seconds: float
    whole: bool


def plan_kills(count: int, seed: int, *, mean_pause_seconds: float) -> list[Kill]:
    """Return the events of a run; every kind comes once where there are enough of them."""
    dice = random.Random(f"kills {seed}")
    return [
        Kill(
            kind,
            pause_seconds=dice.uniform(0.1, 2 * mean_pause_seconds - 0.1),
            # A stopped converter comes back after its jobs went to another, or just about then.
            away_seconds=dice.uniform(1, 5) if kind == "stop" else dice.uniform(0.1, 1.5),
            whole=dice.random() < 0.5,
        )
        for kind in drawn_kinds(dice, WEIGHTS, count)
    ]
