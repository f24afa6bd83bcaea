"""What the clients know of the generations that run now: who has them, and how far they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.plan import Phase

ENDS = ("generation.finished", "generation.failed")
#: Deltas after which a generation counts as being in decode.
DECODING_DELTAS = 5


@dataclass(slots=True)
class _Running:
    worker_id: str = ""
    deltas: int = 0


class LiveView:
    """Fed with every frame by every client; the killer looks for victims in it."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take a frame into account."""
        generation_id = frame.get("generation_id")
        if generation_id is None:
            return
        if frame["type"] in ENDS:
            self._running.pop(generation_id, None)
            return
        running = self._running.setdefault(generation_id, _Running())
        if frame["type"] in ("generation.started", "generation.resumed"):
            running.worker_id, running.deltas = frame["worker_id"], 0
        elif frame["type"] == "generation.delta":
            running.deltas += 1

    def forget(self, generation_id: str) -> None:
        """A client gave up on a generation."""
        self._running.pop(generation_id, None)

    def busy(self, worker_id: str, phase: Phase) -> bool:
        """Tell whether a worker has a generation in this phase."""
        return any(
            running.worker_id == worker_id
            and (
                phase == "any"
                or (phase == "prefill" and not running.deltas)
                or (phase == "decode" and running.deltas >= DECODING_DELTAS)
            )
            for running in self._running.values()
        )
