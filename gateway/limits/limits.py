"""The limits of one user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key says of its user's limits; None leaves the setting's default, 0 is unlimited.

    Attributes:
        max_concurrent: generations that may wait or run at once.
        requests_per_minute: generations that may begin in any 60 seconds.
        tokens_per_day: prompt and completion tokens of one UTC day.
        weight: share of a full pool beside other users' shares; above 0.
    """

    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    weight: float = 1.0
