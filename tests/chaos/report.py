"""The result of a run, as a table for people and as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.recorder import Row
from tests.chaos.timing import Loss
from tests.chaos.verdict import Verdict, all_violations


@dataclass(frozen=True, slots=True)
class Report:
    """What one scene showed."""

    scene: str
    seed: int
    kills: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    losses: tuple[Loss, ...]
    problems: tuple[str, ...] = ()
    """What went wrong with the run itself: a victim that was never found, a process that did not come back."""

    @property
    def violations(self) -> list[str]:
        """Return everything that must be empty."""
        return [*all_violations(self.verdicts), *self.problems]

    @property
    def late(self) -> list[str]:
        """Return everything that took longer than promised."""
        return [late for loss in self.losses for late in loss.late]

    def as_json(self) -> dict[str, Any]:
        """Return all figures."""
        return {
            "scene": self.scene,
            "seed": self.seed,
            "kills": self._kills(),
            "generations": len(self.verdicts),
            "outcomes": self._outcomes(),
            "resumed_generations": sum(verdict.resumed > 0 for verdict in self.verdicts),
            "seams": sum(verdict.resumed for verdict in self.verdicts),
            "losses": [asdict(loss) for loss in self.losses],
            "late": self.late,
            "violations": self.violations,
        }

    def table(self) -> str:
        """Return the lines that are printed."""
        lines = [f"== {self.scene}, seed {self.seed}: {len(self.kills)} kills, {len(self.verdicts)} generations"]
        lines += _rows("kills", self._kills())
        lines += _rows("generations", self._outcomes())
        resumed = [verdict for verdict in self.verdicts if verdict.resumed]
        lines.append(f"  resumed       {len(resumed)} generations, {sum(v.resumed for v in resumed)} seams")
        for kind in dict.fromkeys(loss.kind for loss in self.losses):
            of_kind = [loss for loss in self.losses if loss.kind == kind]
            noticed = [loss.noticed for loss in of_kind if loss.noticed is not None and not loss.is_doubled]
            doubled = [loss.noticed for loss in of_kind if loss.noticed is not None and loss.is_doubled]
            taken = [seconds for loss in of_kind for seconds in loss.taken]
            going_on = [seconds for loss in of_kind for seconds in loss.going_on]
            lines.append(f"  {kind:<13} noticed after   {_spread(noticed)}")
            if doubled:
                lines.append(f"  {'':<13} …beside another {_spread(doubled)}, of a gateway or Redis")
            lines.append(f"  {'':<13} then taken over {_spread(taken)}")
            lines.append(f"  {'':<13} then going on   {_spread(going_on)}")
        lines += [f"  late: {late}" for late in self.late]
        lines += [f"  VIOLATION: {violation}" for violation in self.violations]
        lines.append(f"  violations    {len(self.violations)}")
        return "\n".join(lines)

    def _kills(self) -> dict[str, int]:
        return dict(
            Counter(
                kill["kind"] if kill["phase"] == "any" else f"{kill['kind']} in {kill['phase']}" for kill in self.kills
            )
        )

    def _outcomes(self) -> dict[str, int]:
        return dict(Counter(f"{verdict.outcome}: {verdict.cause}" for verdict in self.verdicts))


def _rows(title: str, counts: dict[str, int]) -> list[str]:
    return [
        f"  {title if not at else '':<13} {count:>5}  {name}" for at, (name, count) in enumerate(sorted(counts.items()))
    ]


def _spread(values: Iterable[float]) -> str:
    ordered: Sequence[float] = sorted(values)
    if not ordered:
        return "–"
    return f"{ordered[len(ordered) // 2]:.2f} s in the middle, {ordered[-1]:.2f} s at most ({len(ordered)})"
