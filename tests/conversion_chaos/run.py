"""One run from its first process to its report."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared import keys
from tests.conversion_chaos.killer import Killer
from tests.conversion_chaos.plan import plan_kills
from tests.conversion_chaos.scene import Asked, Scene
from tests.conversion_chaos.store_view import StoreView
from tests.helpers.sample_checkpoint import sample_weights

#: Jobs that wait or run at any time.
OPEN_JOBS = 4
#: Every job must have ended this long after the last kill.
LAST_JOBS_SECONDS = 120.0
#: Left-overs of a converter that was killed between a job's end and its clearing up go within this time.
LAST_SWEEP_SECONDS = 75.0
#: A cancel that comes this late finds the job published.
CANCEL_SECONDS = 3.0


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    seed: int
    kills: Counter[str]
    states: Counter[str]
    attempts: Counter[int]
    variants: int
    looks: int
    seconds: float
    last_seconds: float
    violations: tuple[str, ...]

    def table(self) -> str:
        """Return the summary that `make conversion-chaos` prints."""
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s; the last job ended {self.last_seconds:.1f} s after the last kill",
            f"kills {sum(self.kills.values())}: {_counts(self.kills)}",
            f"jobs {sum(self.states.values())}: {_counts(self.states)}; by attempts {_counts(self.attempts)}",
            f"variants published {self.variants}, store checked {self.looks} times",
            f"violations {len(self.violations)}",
            *(f"  {violation}" for violation in self.violations),
        ]
        return "\n".join(lines)


def run_chaos(
    folder: Path, *, kills: int, seed: int, real: bool, mean_pause_seconds: float, say: Callable[[str], None]
) -> Report:
    """Start the scene, let the plan happen over a queue of conversions, and check."""
    began = time.monotonic()
    scene = Scene(folder, real=real, seed=seed)
    view = StoreView(scene.bed.store.path)
    view.start()
    violations: list[str] = []
    killer = Killer(scene, seed)

    def feed() -> None:
        if len(scene.open_jobs()) < OPEN_JOBS:
            scene.ask()

    try:
        try:
            killer.run(plan_kills(kills, seed, mean_pause_seconds=mean_pause_seconds), say, feed)
        except TimeoutError as error:
            violations.append(f"the killer stopped: {error}")
        last_kill = time.monotonic()
        _wait(lambda: not scene.open_jobs(), LAST_JOBS_SECONDS)
        last_seconds = time.monotonic() - last_kill
        _wait(lambda: not scene.bed.left_overs(), LAST_SWEEP_SECONDS)
        view.stop()
        violations += [f"left behind: {name}" for name in scene.bed.left_overs()]
        states: Counter[str] = Counter()
        attempts: Counter[int] = Counter()
        for asked in scene.asked:
            job = scene.bed.job(asked.conversion_id)
            states[job.state] += 1
            attempts[job.attempt] += 1
            violations += _wrong(scene, asked)
        violations += _index_differs(scene, view)
    finally:
        scene.stop()
    return Report(
        seed,
        killer.done,
        states,
        attempts,
        len(view.seen),
        view.looks,
        time.monotonic() - began,
        last_seconds,
        (*violations, *view.violations),
    )


def _wrong(scene: Scene, asked: Asked) -> list[str]:
    """Return what is wrong with a job's end: its state, its events, or what it published."""
    job = scene.bed.job(asked.conversion_id)
    ends = [event.state for event in scene.bed.events(asked.conversion_id) if event.state != "running"]
    wrong = []
    if ends != [job.state]:
        wrong.append(f"{asked.name}: state {job.state}, ends {ends}")
    too_late = asked.cancelled_at is not None and (job.ended_ms or 0) / 1000 < asked.cancelled_at + CANCEL_SECONDS
    wanted = {"succeeded"} if asked.cancelled_at is None else {"cancelled", *(["succeeded"] if too_late else [])}
    if job.state not in wanted:
        wrong.append(f"{asked.name}: {job.state} instead of {sorted(wanted)}: {job.error}")
    if job.state == "succeeded" and {result.name for result in job.results} != set(asked.variants):
        wrong.append(f"{asked.name}: its results are {[result.name for result in job.results]}, not {asked.variants}")
    for variant in asked.variants if job.state == "succeeded" else ():
        weights = scene.bed.store.path / asked.name / variant / "openvino_model.bin"
        if not weights.is_file():
            wrong.append(f"{asked.name}:{variant} is not published")
        elif not scene.real and weights.read_bytes() != sample_weights(asked.source, variant):
            wrong.append(f"{asked.name}:{variant} has the weights of something else")
    return wrong


def _index_differs(scene: Scene, view: StoreView) -> list[str]:
    indexed = {name.decode() for name in scene.bed.redis.hkeys(keys.VARIANTS)}  # type: ignore[union-attr]
    return [f"{name} is in the store or in the index only" for name in sorted(indexed ^ view.seen.keys())]


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def _counts(counter: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counter.items()))
