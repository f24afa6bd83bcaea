"""The relay of one gateway on a real Redis, frame by frame."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from gateway.generations.relay import Relay
from shared.journal import Journal
from shared.redis_client import AsyncRedis, create_redis
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request

pytestmark = pytest.mark.connected
GATEWAY = "gw_here"


@pytest.fixture
async def relay(redis_url: str, transport: AsyncRedis) -> AsyncIterator[Relay]:
    """A relay that other gateways' generations are sent to, too."""
    blocking = create_redis("follow", redis_url, blocking=True)
    relay = Relay(blocking, transport, Journal(transport), GATEWAY)
    await relay.heartbeat()
    yield relay
    await blocking.aclose()


async def test_what_redis_has_lost_ends_as_failed(relay: Relay, transport: AsyncRedis) -> None:
    """The accident: Redis comes back without its last second, and a socket waits for ever for an end that nobody is
    left to write."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await WaitingQueue(transport).enqueue(generation_request(), GATEWAY, 10)
    await relay.subscribe("g", heard.put_nowait)
    await transport.flushall()
    await relay.heartbeat()
    end = orjson.loads(await asyncio.wait_for(heard.get(), 5))
    assert (end["type"], end["generation_id"], end["error"]["code"]) == ("generation.failed", "g", "worker_lost")
    await transport.flushall()
    await relay.heartbeat()
    assert heard.empty(), "it ends once"
