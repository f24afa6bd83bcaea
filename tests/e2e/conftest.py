"""The whole platform with the real demo model, shared by the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, Service, wait_until


@pytest.fixture(scope="session")
def demo_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis of the demo platform."""
    with RedisServer(tmp_path_factory.mktemp("demo-redis")) as server:
        yield server


@pytest.fixture(scope="session")
def demo_platform(
    demo_store: Path, demo_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway before one converter and one CPU worker with the real engine; the converter made the index."""
    folder = tmp_path_factory.mktemp("demo-platform")
    environment = {
        "OVCHAT_REDIS_URL": demo_redis.url,
        "OVCHAT_DATA_DIR": str(folder),
        "OVCHAT_MODEL_STORE": str(demo_store),
    }
    gateway = Gateway(environment, folder / "gateway.log").start_ready()
    services = [
        Service(module, environment, folder / f"{module}.log").start()
        for module in ("converter_worker", "inference_worker")
    ]
    try:
        with gateway.client() as client:
            wait_until(lambda: client.get("/api/v1/models").json()["data"], seconds=60, what="index of variants")
            wait_until(lambda: client.get("/api/v1/workers").json()["data"], seconds=60, what="a worker")
        yield gateway
    finally:
        for service in (*services, gateway):
            service.stop(seconds=60)
