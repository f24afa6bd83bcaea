"""A converter worker process with its store, and a client that submits jobs as the gateway does."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import redis

from converter_worker.celery_app import make_celery
from converter_worker.job_store import StageTicket
from converter_worker.tasks import ticket_sender
from gateway.conversion_client import ConversionTasks
from gateway.conversions.planning import plan_conversion, plan_import
from shared import keys
from shared.calibration import calibration_texts
from shared.catalog import Catalog
from shared.conversion_job import event_from_fields, job_from_fields
from shared.ids import new_id
from shared.model_store import ModelStore
from shared.schemas.conversion import (
    ENDED,
    ConversionEvent,
    ConversionJob,
    ConversionPlan,
    ConversionRequest,
    ImportRequest,
)
from shared.settings import ConverterSettings
from tests.helpers.services import Service, wait_until
from tests.helpers.written_job import write_job


class ConversionBed:
    """One Redis database, one store, and as many converters as a test starts."""

    def __init__(self, folder: Path, redis_url: str, *, store: Path | None = None) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.store = ModelStore(store or folder / "models")
        self.redis = redis.Redis.from_url(redis_url)
        self.tasks = ConversionTasks(redis_url)
        self.converters: list[Service] = []
        self._converter_app = make_celery(ConverterSettings(transport_redis_url=redis_url))

    def start_converter(
        self, environment: Mapping[str, str] | None = None, *, module: str = "converter_worker", wait: bool = True
    ) -> Service:
        """Start a worker and wait until it serves."""
        log = self.folder / f"converter-{len(self.converters)}.log"
        settings = {
            "OVCHAT_REDIS_URL": self.redis_url,
            "OVCHAT_DATA_DIR": str(self.folder / "data"),
            "OVCHAT_MODEL_STORE": str(self.store.path),
            "OVCHAT_CONVERSION_LEASE_SECONDS": "2",
            # Where the tests' checkpoints stand, each in a folder beside this one.
            "OVCHAT_LOCAL_SOURCES": str(self.folder.parent),
            "HF_HUB_OFFLINE": "1",
            **(environment or {}),
        }
        converter = Service(module, settings, log).start()
        self.converters.append(converter)
        if wait:
            wait_until(lambda: "converter_started" in converter.output, what="converter started")
        return converter

    def submit(self, source: Path | str, *variants: object, **fields: object) -> str:
        """Submit a job; return its id."""
        request = ConversionRequest.model_validate(
            {"source_model": str(source), "variants": list(variants) or ["int8"], **fields}
        )
        for name, texts in calibration_texts(request).items():
            self.redis.set(keys.calibration(name), json.dumps(texts))
        return self._accept(plan_conversion(request, Catalog([])))

    def submit_import(self, source: Path | str, **fields: object) -> str:
        """Submit an import; return its id."""
        return self._accept(plan_import(ImportRequest.model_validate({"source_model": str(source), **fields})))

    def _accept(self, plan: ConversionPlan) -> str:
        job = ConversionJob(
            conversion_id=new_id("conv"),
            plan=plan,
            state="queued",
            created_ms=int(time.time() * 1000),
        )
        write_job(self.redis, job)
        self.deliver(job.conversion_id)
        return job.conversion_id

    def deliver(self, conversion_id: str) -> None:
        """Send a job's first task; once more is a duplicate."""
        asyncio.run(self.tasks.start(conversion_id))

    def deliver_again(self, conversion_id: str) -> None:
        """Send every task that the job has ever had once more."""
        for field in cast(list[bytes], self.redis.hkeys(keys.conversion_job(conversion_id))):
            if field.startswith(b"claim:"):
                _, attempt, stage, variant = field.decode().split(":", 3)
                ticket = StageTicket(conversion_id, stage, int(attempt), variant or None)  # type: ignore[arg-type]
                ticket_sender(self._converter_app)(ticket, None)

    def cancel(self, conversion_id: str) -> None:
        self.redis.set(keys.conversion_cancel(conversion_id), "1")

    def job(self, conversion_id: str) -> ConversionJob:
        return job_from_fields(self.redis.hgetall(keys.conversion_job(conversion_id)))  # type: ignore[arg-type]

    def events(self, conversion_id: str) -> list[ConversionEvent]:
        entries = self.redis.xrange(keys.conversion_events(conversion_id))
        return [event_from_fields(fields) for _, fields in entries]  # type: ignore[union-attr,arg-type]

    def wait_for_end(self, conversion_id: str, *, seconds: float = 90.0) -> ConversionJob:
        """Wait until a job has ended and return it."""
        wait_until(lambda: self.job(conversion_id).state in ENDED, seconds=seconds, what=self._tail())
        return self.job(conversion_id)

    def wait_for_stage(self, conversion_id: str, stage: str, *, seconds: float = 60.0) -> int:
        """Wait until a stage's child is at work; return the child's process id."""

        def child() -> int | None:
            if not any(event.stage == stage and event.message for event in self.events(conversion_id)):
                return None
            return self.stage_child()

        wait_until(child, seconds=seconds, what=f"{stage} running: {self._tail()}")
        return child() or 0

    def stage_child(self) -> int | None:
        """Return the process id of a running stage's child."""
        import psutil

        for converter in self.converters:
            assert converter.process is not None
            if converter.process.poll() is not None:
                continue
            for parent in psutil.Process(converter.pid).children():
                for child in parent.children():
                    return int(child.pid)
        return None

    def left_overs(self) -> list[str]:
        """Return what stands in the store's staging folder."""
        staging = self.store.path / ".staging"
        return sorted(path.name for path in staging.iterdir()) if staging.is_dir() else []

    def stop(self) -> None:
        for converter in self.converters:
            if converter.process is not None and converter.process.poll() is None:
                converter.stop()
        self.tasks.close()
        self._converter_app.close()
        self.redis.close()

    def _tail(self) -> str:
        return "\n".join(converter.output[-2000:] for converter in self.converters)
