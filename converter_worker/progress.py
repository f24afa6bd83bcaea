"""How far a job is, told to those who watch it, but not more often than they can look."""

import time
from collections.abc import Callable, Mapping

import redis.exceptions
from pydantic import JsonValue

from converter_worker.job_store import JobStore, StageTicket
from converter_worker.size_text import gigabytes
from shared.log import get_logger
from shared.schemas.conversion import ConversionEvent, ConversionFigures, Stage

log = get_logger(__name__)

#: Events of one stage with the same message are at least this far apart, but for the last.
EVENT_PAUSE_SECONDS = 0.2
#: Which part of the whole job each stage is, in the order in which they run.
_SPANS: dict[Stage, tuple[float, float]] = {
    "resolve": (0.0, 0.01),
    "preflight": (0.01, 0.03),
    "download": (0.03, 0.15),
    "tokenizer": (0.15, 0.18),
    "export": (0.18, 0.45),
    "compress": (0.45, 0.85),
    "verify": (0.85, 0.97),
    "publish": (0.97, 1.0),
}


def whole_progress(stage: Stage, stage_progress: float | None, *, done: float = 0, of: int = 1) -> float:
    """Return the progress of the whole job, 0 to 1.

    `done` of `of` equal parts of the stage, such as variants, are complete beside the present one.
    """
    start, end = _SPANS[stage]
    within = min(1.0, (done + (stage_progress or 0.0)) / max(1, of))
    return round(start + (end - start) * within, 4)


class ProgressReporter:
    """Writes the progress of one stage into its job and its event stream.

    Of a stage whose parts run side by side (`side_by_side`), the job's progress counts what all of them have done.
    """

    def __init__(
        self,
        jobs: JobStore,
        ticket: StageTicket,
        *,
        stage: Stage | None = None,
        variant: str | None = None,
        done: int = 0,
        of: int = 1,
        side_by_side: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._ticket = ticket
        self._stage: Stage = stage or ticket.stage
        self._variant = variant or ticket.variant
        self._done, self._of = done, of
        self._side_by_side = side_by_side
        self._clock = clock
        self._last_at: float | None = None
        self._last_message = ""

    @property
    def variant(self) -> str | None:
        """The variant that is worked on, None in a stage of all."""
        return self._variant

    def tell_log(self, lines: tuple[str, ...]) -> None:
        """Pass on what the stage's child printed; raises Superseded when the job is no longer this worker's."""
        whole = whole_progress(self._stage, None, done=self._done, of=self._of)
        self._write({}, self._event(None, whole, None, lines))

    def tell_figures(self, figures: ConversionFigures, fields: Mapping[str, JsonValue]) -> None:
        """Write what the job is foretold to take, with further fields, and tell it."""
        disk = "" if figures.disk_bytes is None else f", {gigabytes(figures.disk_bytes)} of disk"
        message = (
            f"will take about {gigabytes(figures.memory_bytes)} of memory{disk} and {figures.seconds:.0f} s of work"
        )
        event = self._event(None, self._whole(None), message).model_copy(update={"predicted": figures})
        self._jobs.write(self._ticket, {**fields, "predicted": figures.model_dump(mode="json")}, event)

    def __call__(self, progress: float | None, message: str) -> None:
        """Report; raises Superseded when the job is no longer this worker's."""
        now = self._clock()
        is_news = message != self._last_message or (progress is not None and progress >= 1.0)
        if self._last_at is not None and not is_news and now - self._last_at < EVENT_PAUSE_SECONDS:
            return
        self._last_at, self._last_message = now, message
        whole = self._whole(progress)
        event = self._event(progress, whole, message or None)
        self._write({"stage": self._stage, "progress": whole, "waiting": None}, event)

    def wait(self, reason: str) -> None:
        """Say what the stage waits for until its next report; raises Superseded as a report does."""
        whole = self._whole(0.0)
        self._write({"stage": self._stage, "progress": whole, "waiting": reason}, self._event(0.0, whole, reason))

    def _write(self, fields: Mapping[str, JsonValue], event: ConversionEvent) -> None:
        try:
            self._jobs.write(self._ticket, fields, event)
        except redis.exceptions.RedisError as error:
            # The work goes on: when Redis is back in time, nothing but this one report was lost.
            log.warning("progress_not_written", error=str(error))

    def _whole(self, progress: float | None) -> float:
        if not self._side_by_side:
            return whole_progress(self._stage, progress, done=self._done, of=self._of)
        try:
            done, of = self._jobs.note_part(self._ticket, progress or 0.0)
        except redis.exceptions.RedisError:
            # The job keeps the progress that it has: what is written never goes back.
            return 0.0
        return whole_progress(self._stage, None, done=done, of=of)

    def _event(
        self, progress: float | None, whole: float, message: str | None, lines: tuple[str, ...] = ()
    ) -> ConversionEvent:
        return ConversionEvent(
            conversion_id=self._ticket.conversion_id,
            state="running",
            stage=self._stage,
            variant=self._variant,
            stage_progress=None if progress is None else min(1.0, round(progress, 4)),
            progress=whole,
            message=message,
            log=lines,
        )
