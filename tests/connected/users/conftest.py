"""Two gateways on one Redis for the tests of this folder."""

from collections.abc import Iterator

import pytest
import redis

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, wait_until


@pytest.fixture(scope="module")
def gateways(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two gateways on one Redis."""
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("users")
    environment = {"OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(folder)}
    both = [Gateway(environment, folder / f"{name}.log").start() for name in ("one", "two")]
    for one in both:
        wait_until(one.is_ready, what="gateway ready")
    yield both
    for one in both:
        one.stop()


@pytest.fixture
def gateway(gateways: list[Gateway]) -> Gateway:
    return gateways[0]
