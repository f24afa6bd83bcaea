"""The worker's side of the stage parent: start it, run stages in its children, stop them."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from converter_worker import stage_messages
from converter_worker.stage_environment import stage_environment
from converter_worker.stage_messages import Exited, Failed, Progress, Ready, RunStage, Started, StopStage, Succeeded
from shared.errors import OutOfMemory, PlatformError, StageCrashed, error_from_body
from shared.ids import new_id
from shared.log import get_logger

#: How often a running stage looks whether it is to stop.
POLL_SECONDS = 0.25
#: From SIGTERM to SIGKILL.
STOP_GRACE_SECONDS = 3.0
#: A parent that has grown this much since it was ready is replaced.
MAX_PARENT_GROWTH_BYTES = 512 << 20

log = get_logger(__name__)


class StageStopped(Exception):
    """The stage was ended because `should_stop` said so."""


@dataclass(frozen=True)
class StageRun:
    """One stage to run.

    `module` is that of the stage's name in `converter_worker.stages` where not given.
    `on_progress` gets the stage's progress, 0 to 1 or None, and a message. `should_stop` is asked some times a second.
    """

    stage: str
    arguments: Mapping[str, JsonValue]
    log_file: Path
    time_limit_seconds: float
    module: str | None = None
    on_progress: Callable[[float | None, str], None] = lambda progress, message: None
    should_stop: Callable[[], bool] = lambda: False
    environment: Mapping[str, str] | None = None


class StageRunner:
    """Runs one stage at a time. Not safe for several threads, but `close` may be called from any."""

    def __init__(self, *, threads: int | None = None, telemetry: bool = False, lazy: bool = False) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._telemetry = telemetry
        self._options = ("--lazy",) if lazy else ()
        self._parent: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready_bytes: int | None = None
        self._closing = threading.Event()
        #: Process id of the running child, for tests and logs.
        self.child_pid: int | None = None

    def preload(self) -> None:
        """Start the parent if there is none, so that its imports go on beside what follows."""
        if self._parent is not None and self._parent.poll() is None:
            return
        self._drop_parent()
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "converter_worker.stage_parent", str(there.fileno()), *self._options],
                pass_fds=(there.fileno(),),
                env=stage_environment(telemetry=self._telemetry),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel = here
        log.info("stage_parent_started", pid=self._parent.pid)

    def run(self, stage_run: StageRun) -> dict[str, JsonValue]:
        """Run a stage in a child and return its result.

        Raises:
            StageStopped: `should_stop` was true, or the runner was closed; the child is gone.
            PlatformError: what the stage reported, or that it crashed, ran out of memory or took too long.
        """
        self.preload()
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
        try:
            stage_messages.send(self._open_channel(), request)
            return self._follow(run_id, stage_run)
        except (ConnectionError, BrokenPipeError) as error:
            self._drop_parent()
            if self._closing.is_set():
                raise StageStopped from error
            raise StageCrashed(f"The {stage_run.stage} stage lost its parent process.") from error
        finally:
            self.child_pid = None

    def close(self) -> None:
        """End the parent and whatever it runs; idempotent."""
        self._closing.set()
        self._drop_parent()

    def _follow(self, run_id: str, stage_run: StageRun) -> dict[str, JsonValue]:
        outcome: dict[str, JsonValue] | PlatformError | None = None
        stopping: StageStopped | StageCrashed | None = None
        deadline = time.monotonic() + stage_run.time_limit_seconds
        while True:
            if stopping is None:
                stopping = self._reason_to_stop(stage_run, deadline)
                if stopping is not None:
                    self._stop(run_id)
                    if self.child_pid is None:
                        # Still importing: the parent will end the child as soon as it has made it.
                        raise stopping
            report = self._next_report()
            match report:
                case Ready():
                    self._ready_bytes = report.resident_bytes
                case Started(run_id=run) if run == run_id:
                    self.child_pid = report.pid
                case Progress(run_id=run) if run == run_id:
                    stage_run.on_progress(report.progress, report.message)
                case Succeeded(run_id=run) if run == run_id:
                    outcome = report.result
                case Failed(run_id=run) if run == run_id:
                    outcome = error_from_body(report.error)
                case Exited(run_id=run) if run == run_id:
                    self._replace_if_doubtful(report)
                    return self._end(report, outcome, stopping, stage_run)
                case _:
                    continue

    def _reason_to_stop(self, stage_run: StageRun, deadline: float) -> StageStopped | StageCrashed | None:
        if self._closing.is_set() or stage_run.should_stop():
            return StageStopped()
        if time.monotonic() > deadline:
            return StageCrashed(
                f"The {stage_run.stage} stage was ended after its time limit of {stage_run.time_limit_seconds:.0f} s."
            )
        return None

    def _next_report(self) -> object:
        channel = self._open_channel()
        readable, _, _ = select.select([channel], [], [], POLL_SECONDS)
        if not readable:
            return None
        report = stage_messages.receive_report(channel)
        if report is None:
            raise ConnectionResetError("the stage parent is gone")
        return report

    def _end(
        self,
        exited: Exited,
        outcome: dict[str, JsonValue] | PlatformError | None,
        stopping: StageStopped | StageCrashed | None,
        stage_run: StageRun,
    ) -> dict[str, JsonValue]:
        log.info(
            "stage_child_exited", stage=stage_run.stage, exit_code=exited.exit_code, peak_mb=exited.peak_bytes >> 20
        )
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

    def _stop(self, run_id: str) -> None:
        stage_messages.send(self._open_channel(), StopStage(run_id=run_id, grace_seconds=STOP_GRACE_SECONDS))

    def _replace_if_doubtful(self, exited: Exited) -> None:
        """Drop the parent after a child's crash, or when it has grown; the next run starts a fresh one."""
        grown = self._ready_bytes is not None and exited.resident_bytes - self._ready_bytes > MAX_PARENT_GROWTH_BYTES
        crashed = exited.exit_code < 0 and exited.exit_code not in (-signal.SIGTERM, -signal.SIGKILL)
        if grown or crashed:
            log.warning("stage_parent_replaced", crashed=crashed, grown=grown)
            self._drop_parent()

    def _open_channel(self) -> socket.socket:
        if self._channel is None:
            raise ConnectionResetError("the stage parent is gone")
        return self._channel

    def _drop_parent(self) -> None:
        channel, self._channel = self._channel, None
        parent, self._parent = self._parent, None
        self._ready_bytes = None
        if channel is not None:
            # Shutting down wakes a thread that waits in select; the parent sees the end and kills its children.
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
            channel.close()
        if parent is not None:
            try:
                parent.wait(timeout=STOP_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                # It is still importing, or stuck; its children have the kernel's order to die with it.
                parent.kill()
                parent.wait()
