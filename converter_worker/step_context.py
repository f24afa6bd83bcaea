"""What every step of a conversion has at hand, and the two things that steps do: run a stage, and make a folder."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis.exceptions
from pydantic import JsonValue

from converter_worker.child_log import ChildLog
from converter_worker.converter_registry import ConverterRegistry
from converter_worker.job_store import JobStore, JobView, StageTicket
from converter_worker.measurement import StageRecord
from converter_worker.memory_gate import MemoryGate
from converter_worker.prediction import needed_bytes
from converter_worker.progress import ProgressReporter
from converter_worker.stage_runner import StageRun, StageUsage
from converter_worker.stage_runners import StageRunners
from converter_worker.variant_index import VariantIndex
from converter_worker.version_stacks import VersionStacks
from converter_worker.work_folder import WorkFolder
from shared.catalog import Catalog
from shared.errors import InternalError, StageCrashed, VariantCorrupt, VariantExists, VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.schemas.conversion import ConversionPlan, Stage
from shared.schemas.models import Manifest, VariantRequest
from shared.settings import ConverterSettings

log = get_logger(__name__)

#: A stage whose child crashes or is killed is run this often in all: whatever killed it may be over.
MOST_RUNS = 3


@dataclass(frozen=True)
class StepContext:
    """One delivery of one stage task; `should_stop` is asked some times a second while a stage runs."""

    settings: ConverterSettings
    jobs: JobStore
    store: ModelStore
    catalog: Catalog
    index: VariantIndex
    runners: StageRunners
    stacks: VersionStacks
    memory: MemoryGate
    registry: ConverterRegistry
    view: JobView
    ticket: StageTicket
    work: WorkFolder
    should_stop: Callable[[], bool]

    @property
    def plan(self) -> ConversionPlan:
        """What the job is to make."""
        return self.view.job.plan

    @property
    def stack(self) -> str:
        """The version stack that the model was found to need; the default until that is known."""
        value = self.view.notes.get("stack")
        return value if isinstance(value, str) else self.stacks.default

    def next(self, stage: Stage, variant: str | None = None) -> StageTicket:
        """Return the ticket of a stage that follows."""
        return StageTicket(self.ticket.conversion_id, stage, self.ticket.attempt, variant)

    def reporter(
        self, stage: Stage, *, variant: str | None = None, done: int = 0, of: int = 1, side_by_side: bool = False
    ) -> ProgressReporter:
        """Return a reporter for a stage, for one of `of` equal parts of it, or for one of those that run at once."""
        return ProgressReporter(
            self.jobs, self.ticket, stage=stage, variant=variant, done=done, of=of, side_by_side=side_by_side
        )

    def note(self, name: str) -> str:
        """Return what an earlier step wrote into the job.

        Raises:
            InternalError: it did not.
        """
        value = self.view.notes.get(name)
        if not isinstance(value, str):
            raise InternalError(f"The job lacks what an earlier stage found out ({name}).")
        return value

    def run(
        self,
        stage: Stage,
        arguments: Mapping[str, JsonValue],
        report: ProgressReporter,
        *,
        module: str | None = None,
        stack: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, JsonValue]:
        """Run a stage in a child, in the model's version stack unless another is named, and return its result.

        One that crashes or is killed is run again, but not for ever.

        Raises:
            StageCrashed: every run of it ended without a result.
        """
        return self._run_again_and_again(
            stage, lambda: arguments, report, module=module, stack=stack, environment=environment
        )

    def make(
        self,
        target: Path,
        stage: Stage,
        arguments: Mapping[str, JsonValue],
        report: ProgressReporter,
        *,
        finish: Callable[[Path], None] = lambda part: None,
        module: str | None = None,
    ) -> dict[str, JsonValue]:
        """Run a stage that makes a folder, unless it is there; return its result with the `seconds` it took.

        `finish` completes the folder before it gets its final name; `module` is not the one of the stage's name.
        """
        record = f"{stage}-{target.name}"
        if target.is_dir() and (known := self.work.recall(record)) is not None:
            report(1.0, "done before")
            return known
        part, started = target, 0.0

        def begin() -> dict[str, JsonValue]:
            nonlocal part, started
            part, started = self.work.begin(target, self.ticket.attempt), time.monotonic()
            return {**arguments, "output_dir": str(part)}

        result = self._run_again_and_again(stage, begin, report, module=module)
        result["seconds"] = round(time.monotonic() - started, 3)
        finish(part)
        self.work.record(record, result)
        self.work.finish(part, target)
        return result

    def _run_again_and_again(
        self,
        stage: Stage,
        begin: Callable[[], Mapping[str, JsonValue]],
        report: ProgressReporter,
        *,
        module: str | None = None,
        stack: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, JsonValue]:
        log_file = self.work.log_file(stage if report.variant is None else f"{stage}-{report.variant}")
        part = None if module is None else module.rpartition(".")[2]
        needed = needed_bytes(self.view.job.predicted, stage, report.variant, part)
        message = ""
        for left in reversed(range(MOST_RUNS)):
            report(0.0, message)
            child_log = ChildLog(log_file, report.tell_log, secrets=(environment or {}).values())
            try:
                with self.memory.inside(needed, self.should_stop, report.wait):
                    stage_run = StageRun(
                        stage,
                        begin(),
                        log_file,
                        float(self.settings.stage_time_limit_seconds),
                        module=module,
                        stack=stack or self.stack,
                        on_progress=report,
                        should_stop=self.should_stop,
                        environment=environment,
                        on_look=child_log.look,
                        on_exit=partial(self._note_exit, stage, report.variant, part, child_log),
                    )
                    return self.runners.run(stage_run)
            except StageCrashed as error:
                log.warning("stage_crashed", error=error.message, runs_left=left)
                message = f"{error.message} It runs again."
                if not left:
                    raise StageCrashed(f"{error.message} It was run {MOST_RUNS} times.") from error
        raise AssertionError("the last run returns or raises")

    def _note_exit(
        self, stage: Stage, variant: str | None, part: str | None, child_log: ChildLog, usage: StageUsage
    ) -> None:
        """Tell the last of what a child printed, and keep what it took."""
        child_log.finish()
        record = StageRecord(
            stage=stage,
            variant=variant,
            part=part,
            memory_bytes=usage.peak_bytes,
            seconds=usage.seconds,
            began_ms=int((time.time() - usage.seconds) * 1000),
            worker_id=self.registry.worker_id,
        )
        try:
            self.jobs.note_took(self.ticket, record)
        except redis.exceptions.RedisError as error:
            log.warning("stage_record_not_written", error=str(error))

    def find_published(self, request: VariantRequest, revision: str) -> Manifest | None:
        """Return the published variant that a request asks for, None where its name is free.

        Raises:
            VariantExists: the name belongs to something else.
        """
        try:
            manifest = self.store.manifest(self.plan.model, request.name)
        except (VariantNotPublished, VariantCorrupt):
            return None
        asked = (self.plan.source_model, revision, request.weight_format, request.recipe)
        if (manifest.source_model, manifest.revision, manifest.weight_format, manifest.recipe) == asked:
            return manifest
        raise VariantExists(
            f"{self.plan.model}:{request.name} is published from another source, revision or recipe. "
            "Choose another variant name, or delete the published one first.",
            param="variants",
        )

    def publish_staging(self) -> Path:
        """Return where this attempt copies to what it publishes; what lost ones copied goes.

        Of this attempt: a converter that comes back late must not copy over what another one publishes.
        """
        folder = WorkFolder(self.store.staging_dir(self.ticket.conversion_id))
        return folder.begin(folder.path / "publish", self.ticket.attempt)

    def missing_variants(self, revision: str) -> list[VariantRequest]:
        """Return the variants of the plan that are not published yet."""
        return [request for request in self.plan.variants if self.find_published(request, revision) is None]
