"""The health check of an inference worker's container, against a real registry."""

from __future__ import annotations

import platform

import pytest

from inference_worker.health import is_alive
from shared.redis_client import AsyncRedis
from shared.registry import Registry
from shared.schemas.workers import WorkerInfo
from shared.settings import InferenceSettings
from tests.helpers.messages import worker_info
from tests.helpers.redis_server import free_port

pytestmark = pytest.mark.connected


def _worker(*, node: str, device: str = "CPU") -> WorkerInfo:
    return worker_info(f"w-{node}-{device}").model_copy(
        update={"host_id": "one-for-all", "node": node, "device": device, "device_name": device, "started_ms": 0}
    )


async def test_a_worker_lives_when_its_heartbeat_is_in_the_registry(redis_url: str, transport: AsyncRedis) -> None:
    registry = Registry(transport)
    settings = InferenceSettings(redis_url=redis_url)
    await registry.heartbeat(_worker(node="another-container"), register=True)
    await registry.heartbeat(_worker(node=platform.node(), device="GPU"), register=True)
    assert not await is_alive(settings)
    await registry.heartbeat(_worker(node=platform.node()), register=True)
    assert await is_alive(settings)


async def test_a_worker_is_not_healthy_while_redis_is_away() -> None:
    assert not await is_alive(InferenceSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
