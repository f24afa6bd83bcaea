"""A pool of real processes for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.helpers.pool import Pool, sample_pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A gateway and one worker with the `sample` engine, shared by a module's tests."""
    with sample_pool(tmp_path_factory.mktemp("pool"), session_redis.url) as pool:
        yield pool


@pytest.fixture
def gateway(pool: Pool) -> Gateway:
    """The shared pool's gateway."""
    return pool.gateways[0]
