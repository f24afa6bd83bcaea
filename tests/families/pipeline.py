"""The product's own conversion, run in this process: its steps, its job store and its stage parent, but no Celery."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import redis
from pydantic import JsonValue

from converter_worker.conversion import Conversions
from converter_worker.converter_registry import ConverterRegistry
from converter_worker.job_store import JobStore, StageTicket
from converter_worker.memory_gate import MemoryGate
from converter_worker.stage_runner import StageRun, StageRunner
from converter_worker.stage_runners import StageRunners
from converter_worker.variant_index import VariantIndex
from converter_worker.version_stacks import VersionStacks
from gateway.conversions.planning import plan_conversion
from shared import keys
from shared.catalog import load_catalog
from shared.catalog.stacks import load_stacks
from shared.conversion_job import job_fields, job_from_fields
from shared.ids import new_id
from shared.model_store import ModelStore
from shared.redis_client import create_sync_redis
from shared.schemas.conversion import ConversionJob, ConversionRequest
from shared.settings import ConverterSettings
from tests.helpers.redis_server import RedisServer

_STAGE_SECONDS = 600.0
_WORKER_ID = "families"


class Pipeline:
    """One store in `folder`, one Redis, one warm stage parent a version stack; checkpoints stand below `folder` too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ModelStore(folder / "models")
        self._server = RedisServer(folder / "redis")
        self._settings = ConverterSettings(data_dir=folder, local_sources=str(folder), quality_cards=False)
        self._stacks = VersionStacks(self._settings.stacks_path)
        self._runners = StageRunners(
            self._stacks, lambda overlay: StageRunner(overlay=overlay), idle_seconds=_STAGE_SECONDS
        )
        self._waiting: deque[StageTicket] = deque()

    def __enter__(self) -> "Pipeline":
        self._server.start()
        self._redis = redis.Redis.from_url(self._server.url)
        self._state = create_sync_redis("families", self._server.url)
        self._catalog = load_catalog()
        memory = MemoryGate(None)
        registry = ConverterRegistry(self._state, _WORKER_ID, memory, [self.folder], slots=1)
        registry.beat()
        self._conversions = Conversions(
            self._settings,
            JobStore(self._state, _WORKER_ID, self._settings.conversion_lease_seconds),
            self.store,
            self._catalog,
            VariantIndex(self._state, self.store),
            self._runners,
            self._stacks,
            memory,
            registry,
            lambda ticket, _worker_id: self._waiting.append(ticket),
            threading.Event(),
        )
        self._runners.preload()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._runners.close()
        self._state.close()
        self._redis.close()
        self._server.stop()

    def convert(self, source: Path, variants: tuple[object, ...]) -> ConversionJob:
        """Submit a job as the gateway does and run it to its end."""
        request = ConversionRequest.model_validate({"source_model": str(source), "variants": list(variants)})
        job = ConversionJob(
            conversion_id=new_id("conv"),
            plan=plan_conversion(request, self._catalog),
            state="queued",
            created_ms=int(time.time() * 1000),
        )
        name = keys.conversion_job(job.conversion_id)
        for field, value in job_fields(job).items():
            self._redis.hset(name, field, value)
        self._waiting.append(StageTicket(job.conversion_id, "resolve", job.attempt))
        while self._waiting:
            self._conversions.run_stage(self._waiting.popleft())
        return job_from_fields(self._redis.hgetall(name))  # type: ignore[arg-type]

    def stack(self, family: str) -> str:
        """Return the version stack that exports a family. Raises FamilyNotExported where none at hand does."""
        return self._stacks.choose(family)

    def rank(self, family: str) -> int:
        """Return the place of the first stack that lists a family."""
        stacks = load_stacks().stacks
        return next((at for at, stack in enumerate(stacks) if family in stack.model_types), 0)

    def run_child(
        self, module: str, arguments: Mapping[str, JsonValue], *, stack: str | None = None
    ) -> dict[str, JsonValue]:
        """Run a module's `run` in a child of a warm parent, the default stack's where not said otherwise.

        Raises:
            PlatformError: what it raised.
        """
        name = module.rpartition(".")[2]
        log_file = self.folder / f"{name}.log"
        return self._runners.run(StageRun(name, arguments, log_file, _STAGE_SECONDS, module=module, stack=stack))
