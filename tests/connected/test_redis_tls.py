"""Every service reaches Redis over TLS, checks its certificate, and says what is wrong where it does not believe it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.conversion_client import ConversionTasks
from shared import keys
from shared.redis_client import AsyncRedis
from shared.settings import CommonSettings
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Service
from tests.helpers.tls import Certificate, TlsDoor, make_certificate
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def door(session_redis: RedisServer, transport: AsyncRedis, certificate: Certificate) -> Iterator[TlsDoor]:
    with TlsDoor(session_redis.port, certificate) as door:
        yield door


def test_a_chat_goes_through_gateway_and_worker_over_tls(
    door: TlsDoor, certificate: Certificate, session_redis: RedisServer, tmp_path: Path
) -> None:
    pool = Pool(tmp_path, f"rediss://127.0.0.1:{door.port}/0")
    publish_sample_variant(pool.store_path, session_redis.url, replay_text="Safe and sound.")
    trusting = {"OVCHAT_CA_FILE": str(certificate.certificate)}
    try:
        gateway = pool.gateway(trusting)
        pool.worker(trusting)
        question = {"model": "sample", "messages": [{"role": "user", "content": "hi"}]}
        with gateway.client() as client:
            answer = client.post("/v1/chat/completions", json=question).json()
        assert answer["choices"][0]["message"]["content"] == "Safe and sound."
    finally:
        pool.stop()
    assert door.welcomed >= 4, "the gateway's and the worker's clients"


async def test_celery_sends_over_tls(door: TlsDoor, certificate: Certificate, transport: AsyncRedis) -> None:
    settings = CommonSettings(redis_url=f"rediss://127.0.0.1:{door.port}/0", ca_file=certificate.certificate)
    tasks = ConversionTasks(settings.transport_url)
    await tasks.start("conv_1")
    tasks.close()
    assert await transport.llen(keys.CELERY_PREFIX + keys.CONVERSION_QUEUE) == 1


@pytest.mark.parametrize("module", ["gateway", "inference_worker", "converter_worker"])
def test_a_certificate_that_nobody_vouches_for_is_refused_with_what_to_set(
    module: str, door: TlsDoor, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path / "other")
    environment = {
        "OVCHAT_REDIS_URL": f"rediss://:secret@127.0.0.1:{door.port}/0",
        "OVCHAT_CA_FILE": str(other.certificate),
        "OVCHAT_DATA_DIR": str(tmp_path),
        "OVCHAT_ENGINE": "sample",
    }
    service = Service(module, environment, tmp_path / "log").start()
    assert service.process is not None
    assert service.process.wait(30) != 0
    assert f"certificate of the Redis at 127.0.0.1:{door.port} is not believed" in service.output
    assert "OVCHAT_CA_FILE" in service.output
    assert "secret" not in service.output
