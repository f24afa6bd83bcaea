"""The platform under test: a real redis-server with an append-only file, gateways and workers, each to be killed."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import redis

from shared import keys
from shared.model_store import ModelStore
from shared.schemas.models import VariantRecord, WeightFormat
from tests.chaos.bound_process import dies_with_this_process
from tests.chaos.worker_handle import WorkerHandle
from tests.helpers.demo_store import MODEL, demo_data_dir
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, Service
from tests.helpers.variants import publish_sample_variant

VARIANT: WeightFormat = "int4"
READY_SECONDS = 120.0
_Process = TypeVar("_Process", Service, Gateway, RedisServer)


@dataclass(frozen=True, slots=True)
class SceneKind:
    """What is served and how: on sample engines or on the real demo model."""

    name: str
    model: str
    worker_settings: Mapping[str, str]
    workers: int = 3
    gateways: int = 2
    sample_options: Mapping[str, Any] = field(default_factory=dict)


SAMPLE = SceneKind(
    "sample",
    "chaos",
    {"OVCHAT_ENGINE": "sample", "OVCHAT_MAX_SEQUENCES": "16"},
    sample_options={"tokens_per_second": 30, "prefill_tokens_per_second": 400, "eos_every": 150, "start_seconds": 0.3},
)
REAL = SceneKind(
    "real",
    MODEL,
    {"OVCHAT_MAX_SEQUENCES": "8", "OVCHAT_INFERENCE_THREADS": "1", "OVCHAT_KV_CACHE_BYTES": str(1 << 30)},
    workers=2,
)


class Scene:
    """Starts everything in a folder of its own; every process ends with this one."""

    def __init__(self, folder: Path, kind: SceneKind) -> None:
        self.kind = kind
        self.folder = folder
        self.redis = RedisServer(folder / "redis", append_only=True)
        self.store = folder / "models" if kind.sample_options else demo_data_dir() / "models"
        self.token_logs = folder / "tokens"
        self.gateways: list[Gateway] = []
        self.workers: list[WorkerHandle] = []
        self._bind = dies_with_this_process()
        self._bound(self.redis)

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer of the served variant."""
        return self.store / self.kind.model / VARIANT / "tokenizer.json"

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "OVCHAT_REDIS_URL": self.redis.url,
            "OVCHAT_DATA_DIR": str(self.folder),
            "OVCHAT_MODEL_STORE": str(self.store),
        }

    async def start(self) -> None:
        """Start all of it and wait until every worker can serve."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.redis.start()
        self._publish()
        for number in range(self.kind.gateways):
            gateway = Gateway(
                {**self._environment, "OVCHAT_REQUESTS_PER_MINUTE": "0"}, self.folder / f"gateway-{number}.log"
            )
            self._bound(gateway).start()
            self.gateways.append(gateway)
        for number in range(self.kind.workers):
            worker = Service(
                "inference_worker",
                {
                    **self._environment,
                    "OVCHAT_PRELOAD_MODELS": f"{self.kind.model}:{VARIANT}",
                    "OVCHAT_TOKEN_LOG_DIR": str(self.token_logs),
                    **self.kind.worker_settings,
                },
                self.folder / f"worker-{number}.log",
            )
            self._bound(worker).start()
            self.workers.append(WorkerHandle(worker, number))
        await until(lambda: all(worker.look().healthy for worker in self.workers), READY_SECONDS, "workers ready")
        await asyncio.to_thread(lambda: [gateway.is_ready() for gateway in self.gateways])

    def stop(self) -> None:
        """End everything at once; nothing of it is needed any more."""
        for worker in self.workers:
            worker.kill()
        for gateway in self.gateways:
            gateway.kill()
        self.redis.kill()

    def _bound(self, process: _Process) -> _Process:
        process.preexec = self._bind
        return process

    def _publish(self) -> None:
        if self.kind.sample_options:
            publish_sample_variant(
                self.store,
                self.redis.url,
                model=self.kind.model,
                variant=VARIANT,
                context_length=2048,
                **self.kind.sample_options,
            )
            return
        record = VariantRecord.from_manifest(ModelStore(self.store).check(self.kind.model, VARIANT))
        with redis.Redis.from_url(self.redis.url) as client:
            client.hset(keys.VARIANTS, record.key, record.model_dump_json())


async def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return once a condition holds. Raises TimeoutError."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - it looks at other processes.
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}") from None
