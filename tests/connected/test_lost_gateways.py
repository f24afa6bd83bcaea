"""What killed gateways leave in Redis, and who tidies it up."""

import pytest

from gateway.generations.lost_gateways import LostGateways
from shared import keys
from shared.journal import Journal
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.registry import Registry
from shared.schemas.workers import WORKER_COMMAND, CancelGeneration
from shared.streams import claim_idle, read_group, read_stream
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request, worker_info

pytestmark = pytest.mark.connected
LOST_MS = 30_000
VARIANT = "demo:int4"


async def consumers(transport: AsyncRedis) -> set[bytes]:
    return {consumer["name"] for consumer in await transport.xinfo_consumers(keys.FINISHED, keys.FINALIZERS)}


@pytest.fixture
async def gateways(transport: AsyncRedis) -> LostGateways:
    """A gateway that lives and one that was killed, each with frames in its inbox."""
    now_ms = await redis_now_ms(transport)
    await transport.zadd(keys.GATEWAYS, {"gw_lost": now_ms - LOST_MS, "gw_here": now_ms})
    for name in ("gw_lost", "gw_here"):
        await transport.xadd(keys.inbox(name), {"g:1": "{}"})
    return LostGateways(transport, WaitingQueue(transport))


async def test_a_killed_gateway_leaves_nothing_behind(transport: AsyncRedis, gateways: LostGateways) -> None:
    """The accident: gateways are killed and started again for a year, and what each had unread stays in a Redis that
    evicts nothing."""
    await transport.xgroup_create(keys.FINISHED, keys.FINALIZERS, id="0", mkstream=True)
    await transport.xadd(keys.FINISHED, {"g": "g"})
    await read_group(transport, keys.FINISHED, keys.FINALIZERS, "gw_lost", count=1, block_ms=1)
    await gateways.sweep()
    assert not await transport.exists(keys.inbox("gw_lost"))
    assert await transport.exists(keys.inbox("gw_here"))
    assert await consumers(transport) == {b"gw_lost"}, "what it took and did not store is not lost with it"
    ((entry_id, _),) = await claim_idle(transport, keys.FINISHED, keys.FINALIZERS, "gw_here", idle_ms=0, count=1)
    await transport.xack(keys.FINISHED, keys.FINALIZERS, entry_id)
    await gateways.sweep()
    assert await consumers(transport) == {b"gw_here"}
    assert await transport.zrange(keys.GATEWAYS, 0, -1) == [b"gw_here"]
    await gateways.leave("gw_here")
    assert await consumers(transport) == set()
    assert not await transport.exists(keys.GATEWAYS, keys.inbox("gw_here"))


async def test_an_answer_that_only_a_killed_gateway_read_is_cancelled(
    transport: AsyncRedis, gateways: LostGateways
) -> None:
    """The accident: a gateway is killed under a hundred plain streams, and all of them hold their slots to the longest
    answer for clients that got an error long ago."""
    queue, registry = WaitingQueue(transport), Registry(transport)
    await registry.heartbeat(worker_info("w1"), register=True)
    await registry.set_slots("w1", VARIANT, 3)
    plain = {"chat_id": ""}
    await queue.enqueue(generation_request("runs").model_copy(update=plain), "gw_lost", 10)
    await queue.enqueue(generation_request("read elsewhere").model_copy(update=plain), "gw_lost", 10)
    await Journal(transport).watch("read elsewhere", "gw_here")
    await queue.enqueue(generation_request("of a chat"), "gw_lost", 10)
    assert await queue.take("w1", VARIANT) == 3
    await queue.enqueue(generation_request("waits").model_copy(update=plain), "gw_lost", 10)
    await queue.enqueue(generation_request("waits here").model_copy(update=plain), "gw_here", 10)
    await gateways.sweep()
    told = await read_stream(transport, keys.worker_stream("w1"), "0", count=10, block_ms=1)
    commands = [WORKER_COMMAND.validate_json(fields[b"c"]) for _, fields in told]
    cancelled = [command.generation_id for command in commands if isinstance(command, CancelGeneration)]
    assert cancelled == ["runs"]
    assert await queue.position("waits", VARIANT) is None
    assert await queue.position("waits here", VARIANT) == 0
