"""How soon losses were noticed and answers went on: from the services' logs and the clients' frames."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.chaos.live_view import ENDS
from tests.chaos.recorder import Row
from tests.chaos.service_log import ServiceLog

#: Seconds within which a loss must be noticed, and within which its answers go on after that.
NOTICE_LIMITS: Mapping[str, float] = {"replica": 0.3, "agent": 5.0, "stop": 5.0, "hang": 15.0}
GOING_ON_LIMIT = 2.0
#: Time in which a killed gateway is back and looks after workers again.
GATEWAY_START_SECONDS = 6.0
#: What a service logs when it notices.
_NOTICE_EVENTS: Mapping[str, str] = {
    "replica": "replica_died",
    "agent": "worker_lost",
    "stop": "worker_lost",
    "hang": "replica_hung",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss of a worker or a replica; times in seconds, None where it never happened."""

    kind: str
    target: str
    noticed: float | None
    is_doubled: bool
    """Whether a gateway or Redis was lost about then too, and with it whoever would have noticed."""
    taken: tuple[float, ...]
    """Of every answer that ran there, from the notice to the moment in which another engine got it."""
    going_on: tuple[float, ...]
    """Of the same answers, from the notice to the next piece of text."""
    prefills: bool = False
    """Whether the engine has to compute the whole answer's cache anew before that, which no limit is set for."""

    @property
    def late(self) -> list[str]:
        """Return what took too long."""
        found = []
        if self.noticed is not None and self.noticed > NOTICE_LIMITS[self.kind] and not self.is_doubled:
            found.append(f"{self.kind} of {self.target} was noticed after {self.noticed:.2f} s")
        slow = [seconds for seconds in (self.taken if self.prefills else self.going_on) if seconds > GOING_ON_LIMIT]
        if slow:
            found.append(
                f"{len(slow)} of {len(self.taken)} answers after {self.kind} of {self.target} went on "
                f"up to {max(slow):.2f} s after the notice"
            )
        return found


def measure_losses(rows: Iterable[Row], folder: Path, *, prefills: bool) -> list[Loss]:
    """Return every loss of a run; `prefills` where the engines were real."""
    rows = list(rows)
    events: list[dict[str, Any]] = []
    for path in sorted((*folder.glob("worker-*.log"), *folder.glob("gateway-*.log"))):
        events.extend({**event, "source": path.stem} for event in ServiceLog(path).read())
    frames: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in rows:
        if row["what"] == "frame" and row["frame"].get("generation_id"):
            frames[row["frame"]["generation_id"]].append((row["t"], row["frame"]))
    kills = [row for row in rows if row["what"] == "kill"]
    losses = [_measure(kill, kills, events, frames.values()) for kill in kills if kill["kind"] in NOTICE_LIMITS]
    return [replace(loss, prefills=prefills) for loss in losses]


def _is_hit_again(kill: Row, kills: Iterable[Row], workers: set[str], until: float) -> bool:
    """Tell whether something else happened to an answer before it went on: then that is what it waited for."""
    return any(
        other is not kill
        and kill["t"] - 3 < other["t"] < until
        and (other["kind"] in ("redis", "gateway") or other["worker_id"] in workers)
        for other in kills
    )


def _measure(
    kill: Row,
    kills: Sequence[Row],
    events: Iterable[Mapping[str, Any]],
    answers: Iterable[Sequence[tuple[float, Row]]],
) -> Loss:
    noticed = min(
        (
            event["t"]
            for event in events
            if event["event"] == _NOTICE_EVENTS[kill["kind"]]
            and event["t"] >= kill["t"] - 0.01
            and (event["source"] == kill["target"] or event.get("worker_id") == kill["worker_id"])
        ),
        default=None,
    )
    if noticed is None:
        return Loss(kill["kind"], kill["target"], None, False, (), ())
    taken, going_on = [], []
    for frames in answers:
        before = [frame for t, frame in frames if t < kill["t"]]
        holders = [frame["worker_id"] for frame in before if "worker_id" in frame]
        if not holders or holders[-1] != kill["worker_id"] or before[-1]["type"] in ENDS:
            continue
        after = [(t, frame) for t, frame in frames if t >= noticed]
        seams = [t for t, frame in after if frame["type"] == "generation.resumed"]
        if not seams:
            continue  # It had ended before the loss, and its client only heard of that later.
        next_frame = next((t for t, frame in after if t >= seams[0] and frame["type"] != "generation.resumed"), None)
        takers = {frame["worker_id"] for _, frame in after if "worker_id" in frame}
        if next_frame is not None and not _is_hit_again(kill, kills, takers, next_frame):
            taken.append(round(seams[0] - noticed, 3))
            going_on.append(round(next_frame - noticed, 3))
    doubled = kill["kind"] in ("agent", "stop") and any(
        other["kind"] in ("gateway", "redis") and kill["t"] - GATEWAY_START_SECONDS < other["t"] < noticed
        for other in kills
    )
    seconds = round(noticed - kill["t"], 3)
    return Loss(kill["kind"], kill["target"], seconds, doubled, tuple(taken), tuple(going_on))
