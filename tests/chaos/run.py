"""One scene from its first process to its report."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.asks import HTTP_KINDS, SOCKET_KINDS, AskKind, AskSizes
from tests.chaos.checker import check
from tests.chaos.decoding import ByteLevelDecoder, LibraryDecoder
from tests.chaos.killer import Killer
from tests.chaos.live_view import LiveView
from tests.chaos.load import Load
from tests.chaos.plan import REAL_WEIGHTS, SAMPLE_WEIGHTS, Kill, plan_kills
from tests.chaos.recorder import Recorder, read_rows
from tests.chaos.report import Report
from tests.chaos.scene import REAL, SAMPLE, Scene, SceneKind
from tests.chaos.timing import measure_losses

#: Every answer must have ended this long after the last kill.
LAST_ANSWERS_SECONDS = 130.0


@dataclass(frozen=True, slots=True)
class Course:
    """What happens in a scene."""

    kind: SceneKind
    plan: list[Kill]
    clients: int
    sizes: AskSizes
    ask_kinds: Sequence[AskKind]


def sample_course(kills: int, seed: int, *, mean_pause_seconds: float = 3.0, clients: int = 12) -> Course:
    """Return a course on sample engines."""
    plan = plan_kills(kills, seed, SAMPLE_WEIGHTS, mean_pause_seconds=mean_pause_seconds, phases=("any",))
    return Course(SAMPLE, plan, clients, AskSizes((5, 60), (10, 200)), (*SOCKET_KINDS, *SOCKET_KINDS, *HTTP_KINDS))


def real_course(kills: int, seed: int, *, mean_pause_seconds: float = 3.0, clients: int = 4) -> Course:
    """Return a course on the demo model, with prompts whose prefill takes a while."""
    plan = plan_kills(kills, seed, REAL_WEIGHTS, mean_pause_seconds=mean_pause_seconds, phases=("prefill", "decode"))
    return Course(REAL, plan, clients, AskSizes((700, 1000), (20, 80)), (*SOCKET_KINDS, *SOCKET_KINDS, "v1", "v1-n2"))


async def run_course(
    course: Course, folder: Path, seed: int, *, say: Callable[[str], None], most_seconds: float | None = None
) -> Report:
    """Start the scene, let the plan happen under load, stop everything, and check."""
    scene = Scene(folder, course.kind)
    problems: list[str] = []
    try:
        await scene.start()
        recorder = Recorder(folder / "rows.jsonl")
        try:
            problems += await _under_load(course, scene, recorder, seed, say, most_seconds)
        finally:
            recorder.close()
    finally:
        scene.stop()
    rows = read_rows(folder / "rows.jsonl")
    decoder = (LibraryDecoder if course.kind is REAL else ByteLevelDecoder)(scene.tokenizer_path)
    return Report(
        course.kind.name,
        seed,
        tuple(row for row in rows if row["what"] == "kill"),
        tuple(check(folder / "rows.jsonl", scene.token_logs, decoder)),
        tuple(measure_losses(rows, folder, prefills=course.kind is REAL)),
        tuple(problems),
    )


async def _under_load(
    course: Course,
    scene: Scene,
    recorder: Recorder,
    seed: int,
    say: Callable[[str], None],
    most_seconds: float | None,
) -> list[str]:
    view = LiveView()
    load = Load(scene, view, recorder, seed=seed, clients=course.clients, sizes=course.sizes, kinds=course.ask_kinds)
    asking = asyncio.create_task(load.run())
    killing = asyncio.create_task(Killer(scene, view, recorder, seed).run(course.plan, say))
    problems = []
    await asyncio.wait({asking, killing}, timeout=most_seconds, return_when=asyncio.FIRST_COMPLETED)
    if killing.done():
        with contextlib.suppress(asyncio.CancelledError):
            error = killing.exception()
            if error is not None:
                problems.append(f"the killer stopped: {type(error).__name__}: {error}")
    else:
        say("the time is over")
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
    load.stop()
    done, _ = await asyncio.wait({asking}, timeout=LAST_ANSWERS_SECONDS)
    if not done:
        asking.cancel()
        problems.append("clients still waited at the end")
    results = await asyncio.gather(asking, return_exceptions=True)
    problems += [f"a client broke: {error!r}" for error in results if isinstance(error, Exception)]
    return problems
