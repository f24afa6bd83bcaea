"""What gateways leave behind that were killed: inboxes, names."""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.log import get_logger
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.scripts import load_script

_log = get_logger(__name__)

#: Silence after which a gateway counts as lost; the scripts send it no frames any more from then on.
GATEWAY_LOST_MS = 30_000


class LostGateways:
    """Forgets gateways: those that fell silent, for the one that looks after the pool, and one that ends."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport
        self._forget = load_script(transport, "forget_gateway")

    async def sweep(self) -> None:
        """Forget every gateway that is lost. One that lives after all says so again, and fills its gaps."""
        oldest = await redis_now_ms(self._redis) - GATEWAY_LOST_MS
        for gateway in cast(list[bytes], await self._redis.zrangebyscore(keys.GATEWAYS, "-inf", oldest)):
            if await self._forget(args=[gateway, 0]):
                _log.warning("gateway_forgotten", gateway_id=gateway.decode())

    async def leave(self, gateway_id: str) -> None:
        """Forget a gateway that reads its inbox no more."""
        await self._forget(args=[gateway_id, 1])
