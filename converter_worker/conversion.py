"""A conversion, stage by stage: takes one delivery, runs its step, and settles what became of it."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis.exceptions
import structlog.contextvars
from kombu.exceptions import OperationalError

from converter_worker import import_steps, source_steps, variant_steps
from converter_worker.activity import Activity
from converter_worker.converter_registry import ConverterRegistry
from converter_worker.job_store import JobStore, JobView, StageTicket, StopReason, Superseded
from converter_worker.lease import lease_keeper
from converter_worker.memory_gate import MemoryGate
from converter_worker.passing_on import PassingOn, SendTicket
from converter_worker.stage_errors import file_error
from converter_worker.stage_runner import StageStopped
from converter_worker.stage_runners import StageRunners
from converter_worker.step_context import StepContext
from converter_worker.variant_index import VariantIndex
from converter_worker.version_stacks import VersionStacks
from converter_worker.work_folder import WorkFolder
from shared.catalog import Catalog
from shared.errors import InternalError, OutOfMemory, PlatformError
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.schemas.conversion import Stage
from shared.settings import ConverterSettings

log = get_logger(__name__)

#: How often a running stage looks whether its job was cancelled.
CANCEL_POLL_SECONDS = 0.4

_STEPS: dict[Stage, Callable[[StepContext], list[StageTicket]]] = {
    "resolve": source_steps.resolve,
    "download": source_steps.download,
    "export": variant_steps.export,
    "compress": variant_steps.compress,
    "verify": variant_steps.verify,
    "publish": variant_steps.publish,
}
_IMPORT_STEPS: dict[Stage, Callable[[StepContext], list[StageTicket]]] = {
    "resolve": import_steps.resolve,
    "download": import_steps.download,
    "verify": variant_steps.verify,
    "publish": import_steps.publish,
}


class ShuttingDown(Exception):
    """The worker stops: the delivery is to go back into the queue."""


@dataclass(frozen=True)
class Conversions:
    """Runs stages, several at once from as many threads. `stopping` is set when the worker shuts down."""

    settings: ConverterSettings
    jobs: JobStore
    store: ModelStore
    catalog: Catalog
    index: VariantIndex
    runners: StageRunners
    stacks: VersionStacks
    memory: MemoryGate
    registry: ConverterRegistry
    send: SendTicket
    stopping: threading.Event
    activity: Activity = field(default_factory=Activity)
    passing_on: PassingOn = field(init=False)

    def __post_init__(self) -> None:
        patience = self.settings.converter_patience_seconds
        passing_on = PassingOn(self.jobs, self.memory, self.registry, self.send, patience)
        object.__setattr__(self, "passing_on", passing_on)

    def run_stage(self, ticket: StageTicket, *, passed_on: bool = False) -> None:
        """Run one delivery of a stage, or pass it on; harmless when it was delivered before, or is out of date.

        `passed_on` says that another converter has chosen this one.

        Raises:
            ShuttingDown: the worker stops; the stage was stopped and its claim given back.
        """
        with structlog.contextvars.bound_contextvars(
            conversion_id=ticket.conversion_id, stage=ticket.stage, variant=ticket.variant, attempt=ticket.attempt
        ):
            if self.stopping.is_set():
                raise ShuttingDown
            try:
                if self.passing_on.is_elsewhere(ticket, passed_on=passed_on):
                    return
            except OutOfMemory as error:
                self.give_up(ticket, error)
                return
            view = self.jobs.claim(ticket)
            if view is None:
                log.info("stage_delivery_dropped")
                return
            started = time.monotonic()
            log.info("stage_started")
            lease = lease_keeper(self.jobs, ticket, self.settings.conversion_lease_seconds)
            with self.activity.converting(), lease:
                try:
                    self._run(view, ticket)
                except Superseded:
                    log.warning("stage_superseded")
                    return
                except (redis.exceptions.RedisError, OperationalError) as error:
                    # Nothing can be settled; the lease runs out and the job is taken up again, what is on the disk
                    # counts then.
                    log.warning("stage_not_settled", error=str(error))
                    return
            log.info("stage_finished", seconds=round(time.monotonic() - started, 2))

    def _run(self, view: JobView, ticket: StageTicket) -> None:
        watch = _StopWatch(self.jobs, ticket, self.stopping)
        try:
            if watch.should_stop():
                raise StageStopped
            steps = _IMPORT_STEPS if view.job.plan.kind == "import" else _STEPS
            following = steps[ticket.stage](self._context(view, ticket, watch))
        except StageStopped:
            self._settle_stop(ticket, watch)
        except PlatformError as error:
            self._fail(ticket, error)
        except (Superseded, redis.exceptions.RedisError):
            raise
        except OSError as error:
            self._fail(ticket, file_error(error, ticket.stage, self.store.path))
        except Exception as error:
            log.exception("stage_broke")
            self._fail(ticket, InternalError(f"The {ticket.stage} stage failed: {type(error).__name__}: {error}"))
        else:
            if not following and ticket.stage != "compress":
                self.clean_up(ticket.conversion_id)
                return
            # In this order: a worker that dies in between has lost a message, which is sent again; the other way round
            # the stage would look lost while the next one is at work.
            self.jobs.complete(ticket)
            for follower in following:
                self.send(follower, None)

    def give_up(self, ticket: StageTicket, error: PlatformError) -> None:
        """Let a job that nobody works on fail; nothing happens where it has ended."""
        with contextlib.suppress(Superseded):
            self._fail(ticket, error)

    def cancel(self, ticket: StageTicket) -> None:
        """End a job that nobody works on as cancelled; nothing happens where it has ended."""
        with contextlib.suppress(Superseded):
            self._end_cancelled(ticket)

    def clean_up(self, conversion_id: str) -> None:
        """Remove what a job that has ended left on the disk."""
        try:
            self._work_folder(conversion_id).remove()
            WorkFolder(self.store.staging_dir(conversion_id)).remove()
        except (OSError, PlatformError) as error:
            log.warning("clean_up_failed", error=str(error))

    def _settle_stop(self, ticket: StageTicket, watch: "_StopWatch") -> None:
        if watch.reason == "cancelled":
            self._end_cancelled(ticket)
            return
        if watch.reason == "superseded":
            raise Superseded
        self.jobs.release(ticket)
        raise ShuttingDown

    def _end_cancelled(self, ticket: StageTicket) -> None:
        self.jobs.end(ticket, "cancelled")
        log.info("conversion_cancelled")
        self.clean_up(ticket.conversion_id)

    def _fail(self, ticket: StageTicket, error: PlatformError) -> None:
        self.jobs.end(ticket, "failed", error=error)
        log.warning("conversion_failed", code=error.code, error=error.message)
        self.clean_up(ticket.conversion_id)

    def _context(self, view: JobView, ticket: StageTicket, watch: "_StopWatch") -> StepContext:
        return StepContext(
            settings=self.settings,
            jobs=self.jobs,
            store=self.store,
            catalog=self.catalog,
            index=self.index,
            runners=self.runners,
            stacks=self.stacks,
            memory=self.memory,
            registry=self.registry,
            view=view,
            ticket=ticket,
            work=self._work_folder(ticket.conversion_id),
            should_stop=watch.should_stop,
        )

    def _work_folder(self, conversion_id: str) -> WorkFolder:
        scratch = self.settings.conversion_dir
        return WorkFolder(self.store.staging_dir(conversion_id) if scratch is None else scratch / conversion_id)


class _StopWatch:
    """Tells a running stage to stop: cancelled, superseded, or the worker shuts down (no reason then)."""

    def __init__(self, jobs: JobStore, ticket: StageTicket, stopping: threading.Event) -> None:
        self._jobs = jobs
        self._ticket = ticket
        self._stopping = stopping
        self._asked_at = 0.0
        self.reason: StopReason | None = None

    def should_stop(self) -> bool:
        """Ask, but Redis only now and then; a Redis that is away stops nothing."""
        if self._stopping.is_set() or self.reason is not None:
            return True
        now = time.monotonic()
        if now - self._asked_at < CANCEL_POLL_SECONDS:
            return False
        self._asked_at = now
        try:
            self.reason = self._jobs.stop_reason(self._ticket)
        except redis.exceptions.RedisError as error:
            log.warning("cancel_flag_not_read", error=str(error))
        return self.reason is not None
