"""What killed gateways leave in Redis, and who tidies it up."""

import pytest

from gateway.generations.lost_gateways import GATEWAY_LOST_MS, LostGateways
from shared import keys
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.streams import claim_idle, read_group

pytestmark = pytest.mark.connected


async def consumers(transport: AsyncRedis) -> set[bytes]:
    return {consumer["name"] for consumer in await transport.xinfo_consumers(keys.FINISHED, keys.FINALIZERS)}


@pytest.fixture
async def gateways(transport: AsyncRedis) -> LostGateways:
    """A gateway that lives and one that was killed, each with frames in its inbox."""
    now_ms = await redis_now_ms(transport)
    await transport.zadd(keys.GATEWAYS, {"gw_lost": now_ms - GATEWAY_LOST_MS, "gw_here": now_ms})
    for name in ("gw_lost", "gw_here"):
        await transport.xadd(keys.inbox(name), {"g:1": "{}"})
    return LostGateways(transport)


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
