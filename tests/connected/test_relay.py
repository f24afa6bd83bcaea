"""The relay of one gateway on a real Redis, frame by frame."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

import gateway.generations.relay
from gateway.background import run_forever
from gateway.generations.relay import INBOX_SECONDS, Relay
from shared import keys, streams
from shared.journal import Journal
from shared.redis_client import AsyncRedis, create_redis
from shared.tasks import end_tasks
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request
from tests.helpers.redis_relay import RedisRelay
from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.connected
GATEWAY = "gw_here"


@pytest.fixture
async def relay(redis_url: str, transport: AsyncRedis) -> AsyncIterator[Relay]:
    """A relay that has not said yet that it lives."""
    blocking = create_redis("follow", redis_url, blocking=True)
    relay = Relay(blocking, transport, Journal(transport), GATEWAY)
    yield relay
    await blocking.aclose()


async def test_what_redis_has_lost_ends_as_failed(relay: Relay, transport: AsyncRedis) -> None:
    """The accident: Redis comes back without its last second, and a socket waits for ever for an end that nobody is
    left to write."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await relay.heartbeat()
    await WaitingQueue(transport).enqueue(generation_request(), GATEWAY, 10)
    await relay.subscribe("g", heard.put_nowait)
    await transport.flushall()
    await relay.heartbeat()
    end = orjson.loads(await asyncio.wait_for(heard.get(), 5))
    assert (end["type"], end["generation_id"], end["error"]["code"]) == ("generation.failed", "g", "worker_lost")
    await transport.flushall()
    await relay.heartbeat()
    assert heard.empty(), "it ends once"


async def test_a_gateway_that_stood_still_fills_its_gaps(relay: Relay, transport: AsyncRedis) -> None:
    """The accident: a laptop sleeps, frames are no longer sent to its gateway, and its sockets wait for their end."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    queue = WaitingQueue(transport)
    await transport.zadd(keys.GATEWAYS, {GATEWAY: 0})
    await queue.enqueue(generation_request(), GATEWAY, 10)
    await relay.subscribe("g", heard.put_nowait)
    await queue.cancel("g", "ann")
    assert not await transport.exists(keys.inbox(GATEWAY))
    await relay.heartbeat()
    end = orjson.loads(await asyncio.wait_for(heard.get(), 5))
    assert (end["type"], end["finish_reason"]) == ("generation.finished", "cancelled")


async def test_an_inbox_does_not_outlive_its_gateway(relay: Relay, transport: AsyncRedis) -> None:
    """The accident: the last gateway is killed, and nobody is left to tidy up what it had not read."""
    await transport.xadd(keys.inbox(GATEWAY), {"g:1": "{}"})
    await relay.heartbeat()
    assert 0 < await transport.ttl(keys.inbox(GATEWAY)) <= INBOX_SECONDS


async def test_frames_that_nobody_follows_are_not_sent(relay: Relay, transport: AsyncRedis) -> None:
    """The accident: a socket leaves and comes back at once, and the end of its first visit takes the second one's
    frames away."""
    watchers = keys.watchers("g")
    await WaitingQueue(transport).enqueue(generation_request(), GATEWAY, 10)
    for _ in range(20):
        relay.unsubscribe(await relay.subscribe("g", lambda _: None))
        staying = await relay.subscribe("g", lambda _: None)
        assert await transport.smembers(watchers) == {GATEWAY.encode()}
        relay.unsubscribe(staying)
    # The relay has its turn first, and its command goes before the next one of the same client.
    await asyncio.sleep(0)
    assert not await transport.exists(watchers)


async def test_an_inbox_whose_reading_is_never_answered_is_read_again(
    session_redis: RedisServer, transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The accident: the host of Redis loses its power, which ends no connection. The gateway's other calls find the
    Redis that comes back, and for two hours every answer that is followed here stands still."""
    monkeypatch.setattr(streams, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(gateway.generations.relay, "READ_BLOCK_MS", 100)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    queue = WaitingQueue(transport)
    async with RedisRelay(session_redis).running() as between:
        blocking = create_redis("follow", between.url, blocking=True)
        relay = Relay(blocking, transport, Journal(transport), GATEWAY)
        await relay.heartbeat()
        await queue.enqueue(generation_request(), GATEWAY, 10)
        await relay.subscribe("g", heard.put_nowait)
        between.hold_command("XREAD")
        reading = asyncio.create_task(run_forever("relay", relay.read))
        try:
            await between.caught()
            await queue.cancel("g", "ann")
            end = orjson.loads(await asyncio.wait_for(heard.get(), 5))
        finally:
            await end_tasks([reading])
            await blocking.aclose()
    assert end["type"] == "generation.finished"


async def test_a_gap_that_could_not_be_filled_is_filled_later(
    relay: Relay, transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The accident: Redis is back for the reading of the inbox, and not for all the journals that are read then. Where
    the end is among what was missed, no later frame tells of the gap."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    queue = WaitingQueue(transport)
    await relay.heartbeat()
    await queue.enqueue(generation_request(), GATEWAY, 10)
    await relay.subscribe("g", heard.put_nowait)
    await queue.cancel("g", "ann")
    await transport.delete(keys.inbox(GATEWAY))
    fails = asyncio.Event()

    async def watch(*_: object, **__: object) -> None:
        fails.set()
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "watch", watch)
        relay.resync()
        await fails.wait()
        await asyncio.sleep(0)
    await transport.xadd(keys.inbox(GATEWAY), {"another:1": "{}"})
    await relay.read()
    assert orjson.loads(await asyncio.wait_for(heard.get(), 2))["type"] == "generation.finished"
