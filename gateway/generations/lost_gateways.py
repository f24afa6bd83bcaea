"""What gateways leave behind that were killed: inboxes, names, answers that nobody reads."""

from __future__ import annotations

from typing import cast

from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.scripts import load_script
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)


class LostGateways:
    """Forgets gateways: those that fell silent, for the one that looks after the pool, and one that ends."""

    def __init__(self, transport: AsyncRedis, queue: WaitingQueue) -> None:
        self._queue = queue
        self._abandoned = load_script(transport, "abandoned")
        self._forget = load_script(transport, "forget_gateway")

    async def sweep(self) -> None:
        """Forget every gateway that is lost. One that lives after all says so again, and fills its gaps.

        An answer of a plain HTTP request can be read from its own gateway only, which would have cancelled it when its
        client left: it is cancelled now. Chats run on.
        """
        silent, abandoned = cast(tuple[list[bytes], list[bytes]], await self._abandoned(args=[]))
        for generation_id, user in zip(abandoned[::2], abandoned[1::2], strict=True):
            await self._queue.cancel(generation_id.decode(), user.decode())
            _log.warning("generation_abandoned", generation_id=generation_id.decode())
        for gateway in silent:
            if await self._forget(args=[gateway, 0]):
                _log.warning("gateway_forgotten", gateway_id=gateway.decode())

    async def leave(self, gateway_id: str) -> None:
        """Forget a gateway that reads its inbox no more."""
        await self._forget(args=[gateway_id, 1])
