"""A worker process with the sample engine on a real Redis, and the gateway's part for the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.redis_client import AsyncRedis
from tests.helpers.services import Service
from tests.helpers.worker_client import StartWorker, WorkerClient


@pytest.fixture
def client(transport: AsyncRedis) -> WorkerClient:
    return WorkerClient(transport)


@pytest.fixture
def start_worker(tmp_path: Path, redis_url: str) -> Iterator[StartWorker]:
    workers: list[Service] = []

    def start(url: str = redis_url, **settings: object) -> Service:
        environment = {
            "OVCHAT_REDIS_URL": url,
            "OVCHAT_DATA_DIR": str(tmp_path),
            "OVCHAT_ENGINE": "sample",
            "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "200",
            "OVCHAT_MAX_SEQUENCES": "8",
            **{f"OVCHAT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        worker = Service("inference_worker", environment, tmp_path / f"worker-{len(workers)}.log").start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"
