"""A model of 1.1 billion parameters beside the demo model: loading, ledger, eviction and failover. `make large`."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shared.schemas.conversion import ConversionJob
from tests.helpers.demo_store import MODEL, demo_data_dir
from tests.helpers.foretold import assert_foretold
from tests.helpers.large_llama import write_large_llama
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, Service, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole

pytestmark = [pytest.mark.large, pytest.mark.timeout(1800)]

GIB = 1 << 30
#: Room for the large model or for the demo model, not for both.
BUDGET = 4 * GIB
DEMO, LARGE = f"{MODEL}:int4", "large-llama:int8"
CACHE = Path(__file__).parents[2] / ".cache" / "large"


class Platform:
    """A gateway, a converter until the model is there, and workers as hosts of their own with little memory."""

    def __init__(self, folder: Path, redis_url: str, store: Path) -> None:
        self.folder = folder
        self.environment = {
            "OVCHAT_REDIS_URL": redis_url,
            "OVCHAT_DATA_DIR": str(folder),
            "OVCHAT_MODEL_STORE": str(store),
            "OVCHAT_LOCAL_SOURCES": str(CACHE),
            "OVCHAT_MEMORY_BUDGET_BYTES": str(BUDGET),
            "OVCHAT_KV_CACHE_BYTES": str(GIB),
        }
        self.gateway = Gateway(self.environment, folder / "gateway.log").start_ready()
        self.http: httpx.Client = self.gateway.client()
        self.workers: list[Service] = []

    def worker(self) -> Service:
        number = len(self.workers)
        environment = {**self.environment, "OVCHAT_HOST_ID": f"host-{number}"}
        worker = Service("inference_worker", environment, self.folder / f"worker-{number}.log").start()
        self.workers.append(worker)
        wait_until(lambda: len(self.infos()) == number + 1, seconds=60, what="worker registered")
        return worker

    def infos(self) -> list[dict[str, Any]]:
        return list(self.http.get("/api/v1/workers").json()["data"])

    def replicas(self) -> list[dict[str, Any]]:
        return list(self.http.get("/api/v1/replicas").json()["data"])

    def ready(self, variant: str) -> list[dict[str, Any]]:
        return [
            view
            for view in self.replicas()
            if f"{view['replica']['model']}:{view['replica']['variant']}" == variant
            and view["replica"]["state"] == "ready"
        ]

    def stop(self) -> None:
        self.http.close()
        for service in (*self.workers, self.gateway):
            service.stop(seconds=60)


def convert(platform: Platform) -> None:
    source = write_large_llama(CACHE / "large-llama", demo_data_dir() / "models" / MODEL / "int8")
    converter = Service("converter_worker", platform.environment, platform.folder / "converter.log").start()
    try:
        body = {"source_model": str(source), "name": "large-llama", "variants": ["int8"]}
        answer = platform.http.post("/api/v1/conversions", json=body)
        assert answer.status_code in (200, 202), answer.text
        path = f"/api/v1/conversions/{answer.json()['conversion_id']}"
        ended = ("succeeded", "failed", "cancelled")
        wait_until(lambda: platform.http.get(path).json()["state"] in ended, seconds=1200, what="conversion")
        job = platform.http.get(path).json()
        assert job["state"] == "succeeded", (job["error"], converter.output[-2000:])
        print(json.dumps({name: job[name] for name in ("predicted", "measured")}, indent=1))
        assert_foretold(ConversionJob.model_validate(job))
    finally:
        converter.stop(seconds=60)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("large")
    server = RedisServer(folder / "redis").start()
    shutil.copytree(demo_data_dir() / "models" / MODEL, folder / "models" / MODEL)
    platform = Platform(folder, server.url, folder / "models")
    try:
        convert(platform)
        yield platform
    finally:
        platform.stop()
        server.stop()


async def ask(socket: Socket, model: str, *, tokens: int = 8) -> None:
    params = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": tokens}
    await socket.chat(model, "Tell me about rivers and lakes.", params=params)


async def answered(platform: Platform, model: str) -> list[Frame]:
    async with Socket(platform.gateway.socket_url) as socket:
        await ask(socket, model)
        frames = await socket.receive_until("generation.finished", "generation.failed", "error", seconds=300)
    assert frames[-1]["type"] == "generation.finished", frames[-1]
    assert_whole(frames)
    return frames


async def test_the_large_model_takes_the_place_of_the_demo_model_and_gives_it_back(platform: Platform) -> None:
    platform.worker()
    await answered(platform, DEMO)
    frames = await answered(platform, LARGE)
    assert any(frame["type"] == "model.loading" for frame in frames)
    [view] = platform.ready(LARGE)
    replica = view["replica"]
    print(
        f"\nlarge: reserved {replica['reserved_bytes'] / GIB:.2f} GiB, resident {replica['memory_bytes'] / GIB:.2f} GiB"
        f" (KV cache of 1 GiB is empty), loaded in {replica['load_seconds']} s"
    )
    assert not platform.ready(DEMO), "both do not fit"
    assert replica["memory_bytes"] <= replica["reserved_bytes"] <= BUDGET
    await answered(platform, DEMO)
    assert not platform.ready(LARGE)


async def test_a_killed_replica_of_the_large_model_loses_nothing(platform: Platform) -> None:
    """Accident: re-loading a large model takes longer than clients wait, and the running answers are gone."""
    if len(platform.workers) < 2:
        platform.worker()
    answer = platform.http.put("/api/v1/models/large-llama/int8/placement", json={"replicas": 2})
    assert answer.status_code == 200, answer.text
    await asyncio.to_thread(wait_until, lambda: len(platform.ready(LARGE)) == 2, seconds=300, what="two replicas")
    async with Socket(platform.gateway.socket_url) as socket:
        await ask(socket, LARGE, tokens=60)
        frames = await socket.receive_until("generation.delta", "generation.failed", seconds=120)
        started = next(frame for frame in frames if frame["type"] == "generation.started")
        place = [info["worker_id"] for info in platform.infos()].index(started["worker_id"])
        process = platform.workers[place].process
        assert process is not None
        [replica] = [child for child in psutil.Process(process.pid).children() if f"--name={LARGE}" in child.cmdline()]
        os.kill(replica.pid, signal.SIGKILL)
        frames += await socket.receive_until("generation.finished", "generation.failed", seconds=300)
    assert_whole(frames)
    assert frames[-1]["type"] == "generation.finished"
    assert any(frame["type"] == "generation.resumed" for frame in frames)
    assert answer_text(frames)
