"""Percentiles of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from shared.schemas.common import Message


class Distribution(Message):
    """A list of figures in short; the unit is that of the field's name."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of ascending figures, interpolated between neighbours: 0 is the least, 100 the greatest.

    Raises:
        ValueError: there are no figures, or the percentage is none.
    """
    if not ordered or not 0 <= percent <= 100:
        raise ValueError("a percentile needs figures and a percentage of 0 to 100")
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    share = position - below
    # The clamp keeps rounding from leading outside of the two neighbours.
    between = ordered[below] * (1 - share) + ordered[above] * share
    return min(max(between, ordered[below]), ordered[above])


def distribution(values: Iterable[float], *, digits: int = 3) -> Distribution | None:
    """Return the figures in short, rounded; None where there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    figures = {f"p{percent}": round(percentile(ordered, percent), digits) for percent in (50, 90, 95, 99)}
    return Distribution(
        count=len(ordered),
        mean=round(math.fsum(ordered) / len(ordered), digits),
        max=round(ordered[-1], digits),
        **figures,
    )
