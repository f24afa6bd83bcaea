"""A pool of real processes for the tests of this folder."""

from collections.abc import Iterator

import pytest
import redis

from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway
from tests.helpers.variants import publish_sample_variant


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A gateway and one worker with the `sample` engine, shared by a module's tests."""
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("pool"), session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url)
    try:
        pool.gateway()
        pool.worker()
        yield pool
    finally:
        pool.stop()


@pytest.fixture
def gateway(pool: Pool) -> Gateway:
    """The shared pool's gateway."""
    return pool.gateways[0]
