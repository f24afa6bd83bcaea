"""What the checker says of one request."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["finished", "failed", "refused", "cut off", "open"]


@dataclass(slots=True)
class Verdict:
    """How a request ended, why, and what was wrong with it."""

    ask: str
    kind: str
    outcome: Outcome = "open"
    cause: str = ""
    resumed: int = 0
    violations: list[str] = field(default_factory=list)

    def blame(self, *violations: str) -> None:
        """Note what must never happen."""
        self.violations.extend(f"{self.ask} ({self.kind}): {violation}" for violation in violations)


def all_violations(verdicts: Iterable[Verdict]) -> list[str]:
    """Return everything that was wrong."""
    return [violation for verdict in verdicts for violation in verdict.violations]


def difference(expected: str, got: str) -> str:
    """Return where two texts part, in a few words."""
    at = next((at for at, pair in enumerate(zip(expected, got, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(expected), len(got)) if at is None else at
    return (
        f"of {len(expected)} and {len(got)} characters, at {at}: {expected[at : at + 24]!r}, got {got[at : at + 24]!r}"
    )
