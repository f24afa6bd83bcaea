"""The worker's side of the stage parent: runs stages in its children, several at once, and stops them."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from converter_worker.parent_link import STOP_GRACE_SECONDS, Mailbox, ParentLink
from converter_worker.stage_messages import Exited, Failed, Progress, RunStage, Started, Succeeded
from shared.errors import OutOfMemory, PlatformError, StageCrashed, StageTimedOut, error_from_body
from shared.ids import new_id
from shared.log import get_logger

__all__ = ["STOP_GRACE_SECONDS", "StageRun", "StageRunner", "StageStopped", "StageUsage"]

#: How often a running stage looks whether it is to stop.
POLL_SECONDS = 0.25
#: A parent that has grown this much since it was ready is replaced.
MAX_PARENT_GROWTH_BYTES = 512 << 20

log = get_logger(__name__)


class StageStopped(Exception):
    """The stage was ended because `should_stop` said so."""


@dataclass(frozen=True)
class StageUsage:
    """What a stage's child has taken.

    `peak_bytes` is the most resident memory the kernel counted for the process: the libraries that it shares with its
    parent and the weights that it maps from files are in it. `seconds` are those of its life, imports not counted.
    """

    peak_bytes: int
    seconds: float


@dataclass(frozen=True)
class StageRun:
    """One stage to run.

    `module` is that of the stage's name in `converter_worker.stages` where not given, `stack` the version stack that it
    is to run in (`stage_runners.py`), the default where not given.
    `on_progress` gets the stage's progress, 0 to 1 or None, and a message. `should_stop` is asked some times a second,
    and `on_look` is called as often and once more at the end. `on_exit` gets what the child took, however it ended.
    """

    stage: str
    arguments: Mapping[str, JsonValue]
    log_file: Path
    time_limit_seconds: float
    module: str | None = None
    stack: str | None = None
    on_progress: Callable[[float | None, str], None] = lambda progress, message: None
    should_stop: Callable[[], bool] = lambda: False
    environment: Mapping[str, str] | None = None
    on_look: Callable[[], None] = lambda: None
    on_exit: Callable[[StageUsage], None] = lambda usage: None


class StageRunner:
    """Runs stages, each in the thread that asks for it; safe for several threads."""

    def __init__(
        self, *, threads: int | None = None, telemetry: bool = False, lazy: bool = False, overlay: Path | None = None
    ) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._telemetry = telemetry
        self._overlay = overlay
        self._options = ("--lazy",) if lazy else ()
        self._lock = threading.Lock()
        self._link: ParentLink | None = None
        #: Doubtful parents that end with their last run.
        self._retired: list[ParentLink] = []
        self._closing = threading.Event()
        self._child_pids: dict[str, int] = {}

    @property
    def child_pid(self) -> int | None:
        """Process id of the running child that began last, for tests and logs."""
        return next(reversed(self._child_pids.values()), None)

    @property
    def parent_pid(self) -> int | None:
        """Process id of the present parent, for tests and measurements."""
        return None if self._link is None else self._link.pid

    def preload(self) -> None:
        """Start the parent if there is none, so that its imports go on beside what follows."""
        self._present_link()

    def run(self, stage_run: StageRun) -> dict[str, JsonValue]:
        """Run a stage in a child and return its result.

        Raises:
            StageStopped: `should_stop` was true, or the runner was closed; the child is gone.
            PlatformError: what the stage reported, or that it crashed, ran out of memory or took too long.
        """
        run_id = new_id("run")
        request = RunStage(
            run_id=run_id,
            stage=stage_run.stage,
            module=stage_run.module or f"converter_worker.stages.{stage_run.stage}",
            arguments=dict(stage_run.arguments),
            log_file=str(stage_run.log_file),
            threads=self._threads,
            environment=dict(stage_run.environment or {}),
        )
        link = self._present_link()
        try:
            return self._follow(link, link.begin(request), run_id, stage_run)
        except OSError as error:
            self._retire(link)
            if self._closing.is_set():
                raise StageStopped from error
            raise StageCrashed(f"The {stage_run.stage} stage lost its parent process.") from error
        except BaseException:
            # Whoever asked wants nothing more of it, such as a job that another worker has taken over.
            with contextlib.suppress(OSError):
                link.stop(run_id)
            raise
        finally:
            self._child_pids.pop(run_id, None)
            link.forget(run_id)

    def close(self) -> None:
        """End the parent and whatever it runs; idempotent."""
        self._closing.set()
        with self._lock:
            links = [*self._retired, *([] if self._link is None else [self._link])]
            self._link, self._retired = None, []
        for link in links:
            link.close()

    def _present_link(self) -> ParentLink:
        """Return a parent that takes runs; raises StageStopped after `close`."""
        with self._lock:
            if self._closing.is_set():
                raise StageStopped
            if self._link is None or not self._link.takes_runs:
                gone, self._link = (
                    self._link,
                    ParentLink(options=self._options, telemetry=self._telemetry, overlay=self._overlay),
                )
                log.info(
                    "stage_parent_started",
                    pid=self._link.pid,
                    overlay=None if self._overlay is None else self._overlay.name,
                )
                if gone is not None:
                    self._retired.append(gone)
                    gone.retire()
            return self._link

    def _follow(self, link: ParentLink, mailbox: Mailbox, run_id: str, stage_run: StageRun) -> dict[str, JsonValue]:
        outcome: dict[str, JsonValue] | PlatformError | None = None
        stopping: StageStopped | StageTimedOut | None = None
        started: float | None = None
        deadline = time.monotonic() + stage_run.time_limit_seconds
        while True:
            if stopping is None:
                stopping = self._reason_to_stop(stage_run, deadline)
                if stopping is not None:
                    link.stop(run_id)
                    if started is None:
                        # Still importing: the parent will end the child as soon as it has made it.
                        raise stopping
            stage_run.on_look()
            match _next(mailbox):
                case Started(pid=pid):
                    self._child_pids[run_id] = pid
                    started = time.monotonic()
                case Progress(progress=progress, message=message):
                    stage_run.on_progress(progress, message)
                case Succeeded(result=result):
                    outcome = result
                case Failed(error=error):
                    outcome = error_from_body(error)
                case Exited() as exited:
                    stage_run.on_look()
                    stage_run.on_exit(_usage(exited, started))
                    self._retire_if_doubtful(link, exited)
                    return _end(exited, outcome, stopping, stage_run)
                case None:
                    continue

    def _reason_to_stop(self, stage_run: StageRun, deadline: float) -> StageStopped | StageTimedOut | None:
        if self._closing.is_set() or stage_run.should_stop():
            return StageStopped()
        if time.monotonic() > deadline:
            return StageTimedOut(
                f"The {stage_run.stage} stage was ended after {stage_run.time_limit_seconds:.0f} s. For a model that "
                "needs more, raise OVCHAT_STAGE_TIME_LIMIT_SECONDS."
            )
        return None

    def _retire_if_doubtful(self, link: ParentLink, exited: Exited) -> None:
        """Replace the parent after a child's crash, or when it has grown; its other runs end in peace."""
        grown = link.ready_bytes is not None and exited.resident_bytes - link.ready_bytes > MAX_PARENT_GROWTH_BYTES
        crashed = exited.exit_code < 0 and exited.exit_code not in (-signal.SIGTERM, -signal.SIGKILL)
        if grown or crashed:
            log.warning("stage_parent_replaced", crashed=crashed, grown=grown)
            self._retire(link)

    def _retire(self, link: ParentLink) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            if self._link is link:
                self._link = None
            self._retired = [*(other for other in self._retired if not other.is_closed and other is not link), link]
        link.retire()


def _next(mailbox: Mailbox) -> Started | Progress | Succeeded | Failed | Exited | None:
    """Return the next report, None when there was none for a moment; raises OSError when the parent is gone."""
    with contextlib.suppress(queue.Empty):
        report = mailbox.get(timeout=POLL_SECONDS)
        if report is None:
            raise ConnectionResetError("the stage parent is gone")
        return report
    return None


def _usage(exited: Exited, started: float | None) -> StageUsage:
    return StageUsage(exited.peak_bytes, 0.0 if started is None else round(time.monotonic() - started, 3))


def _end(
    exited: Exited,
    outcome: dict[str, JsonValue] | PlatformError | None,
    stopping: StageStopped | StageTimedOut | None,
    stage_run: StageRun,
) -> dict[str, JsonValue]:
    log.info("stage_child_exited", stage=stage_run.stage, exit_code=exited.exit_code, peak_mb=exited.peak_bytes >> 20)
    if isinstance(outcome, dict):
        return outcome
    if stopping is not None:
        raise stopping
    if outcome is not None:
        raise outcome
    if exited.exit_code == -signal.SIGKILL and exited.out_of_memory:
        raise OutOfMemory(f"The machine ran out of memory in the {stage_run.stage} stage.")
    how = f"signal {-exited.exit_code}" if exited.exit_code < 0 else f"exit code {exited.exit_code}"
    raise StageCrashed(f"The {stage_run.stage} stage ended without a result ({how}).")
