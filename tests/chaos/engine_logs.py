"""What the engines made, from the replicas' own records, put together over all attempts of a generation."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.recorder import read_rows


@dataclass(slots=True)
class Attempt:
    """One sequence in one engine."""

    number: int
    prompt: tuple[int, ...]
    began: float
    token_ids: list[int] = field(default_factory=list)
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class MadeAnswer:
    """A generation's tokens as the engines know them: the first prompt, then what counts of every attempt."""

    prompt: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish: str | None
    attempts: int
    problems: tuple[str, ...]


def read_engine_logs(folder: Path) -> tuple[dict[str, MadeAnswer], frozenset[int]]:
    """Return every generation's tokens, and the ids of the end tokens."""
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    ends: set[int] = set()
    for path in sorted(folder.glob("*.jsonl")):
        here: dict[str, Attempt] = {}
        for row in read_rows(path):
            match row["e"]:
                case "start":
                    ends.update(row["eos"])
                case "add":
                    generation_id, _, number = row["id"].rpartition(":")
                    attempt = here[row["id"]] = Attempt(int(number), tuple(row["ids"]), row["t"])
                    attempts[generation_id].append(attempt)
                case "out":
                    here[row["id"]].token_ids.extend(row["ids"])
                    here[row["id"]].finish = row["finish"]
    return {generation_id: _put_together(found) for generation_id, found in attempts.items()}, frozenset(ends)


def _put_together(attempts: Iterable[Attempt]) -> MadeAnswer:
    """Follow the seams: each prompt must be the first one and a beginning of all that was made before.

    A worker that was declared lost may come back and begin an attempt when a later one has the answer already. What it
    makes counts for nothing, but its prompt must be a beginning of the answer as well.
    """
    everything = sorted(attempts, key=lambda attempt: (attempt.number, attempt.began))
    ordered: list[Attempt] = []
    late: list[Attempt] = []
    for at, attempt in enumerate(everything):
        overtaken = any(other.number > attempt.number and other.began < attempt.began for other in everything[at + 1 :])
        (late if overtaken else ordered).append(attempt)
    prompt = ordered[0].prompt
    problems: list[str] = []
    made: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    last = 0
    for attempt in ordered:
        if attempt.number == last:
            problems.append(f"attempt {attempt.number} was given to an engine twice")
        last = attempt.number
        before, kept = kept, attempt.prompt[len(prompt) :]
        if attempt.prompt[: len(prompt)] != prompt:
            problems.append(f"attempt {attempt.number} begins with another prompt")
        elif kept != made[: len(kept)]:
            problems.append(f"attempt {attempt.number} goes on after tokens that were never made")
        elif kept[: len(before)] != before:
            problems.append(f"attempt {attempt.number} forgets tokens of an earlier seam")
        made = kept + tuple(attempt.token_ids)
    problems += [
        f"attempt {attempt.number} came late and with other tokens"
        for attempt in late
        if attempt.prompt != (prompt + made)[: len(attempt.prompt)]
    ]
    return MadeAnswer(prompt, made, ordered[-1].finish, len(everything), tuple(problems))
