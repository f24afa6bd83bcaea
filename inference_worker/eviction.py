"""Which loaded replicas make room for another one: a pure function over what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: A replica that nobody has used for this long is worth half as much.
_HALF_LIFE_SECONDS = 300.0
#: Loads that differ by less take equally long: what was used last then decides.
_LOAD_STEP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica that may be ended. `load_seconds` is what loading it again would take."""

    variant: str
    reserved_bytes: int
    load_seconds: float
    idle_seconds: float

    @property
    def value(self) -> float:
        """Seconds of loading that keeping it saves, a byte, fading while it is not used."""
        fading: float = 0.5 ** (max(0.0, self.idle_seconds) / _HALF_LIFE_SECONDS)
        loading = (1 + round(self.load_seconds / _LOAD_STEP_SECONDS)) * _LOAD_STEP_SECONDS
        return loading * fading / max(1, self.reserved_bytes)


def choose_victims(candidates: Sequence[Candidate], *, missing_bytes: int, missing_places: int) -> tuple[str, ...]:
    """Return the least valuable replicas whose end gives both back, or nothing where all together would not.

    Args:
        candidates: what may be ended.
        missing_bytes: memory that must become free; 0 or less where memory is not the point.
        missing_places: replicas that there are too many.
    """
    by_value = sorted(candidates, key=lambda candidate: (candidate.value, candidate.variant))
    chosen: list[Candidate] = []
    for candidate in by_value:
        if _suffice(chosen, missing_bytes, missing_places):
            break
        chosen.append(candidate)
    if not _suffice(chosen, missing_bytes, missing_places):
        return ()
    # A small one that was taken first may be needless beside a large one that was taken later.
    for candidate in sorted(chosen, key=lambda candidate: -candidate.value):
        rest = [other for other in chosen if other is not candidate]
        if _suffice(rest, missing_bytes, missing_places):
            chosen = rest
    return tuple(candidate.variant for candidate in chosen)


def _suffice(chosen: Sequence[Candidate], missing_bytes: int, missing_places: int) -> bool:
    return sum(candidate.reserved_bytes for candidate in chosen) >= missing_bytes and len(chosen) >= missing_places
