"""Notices lost workers, lets another one go on with their generations, and forgets lost gateways; one gateway does."""

from __future__ import annotations

import time

from gateway.generations.leadership import Leadership
from gateway.generations.lost_gateways import LostGateways
from gateway.health.metrics import GatewayMetrics
from shared.log import get_logger
from shared.redis_client import CONNECT_TIMEOUT_SECONDS
from shared.registry import Registry

_log = get_logger(__name__)


#: A look that comes this long after the one before was held up: Redis was away, or this gateway stood still.
HELD_UP_SECONDS = 1.5
#: Time that workers get to send a heartbeat after that; without Redis they could not. One may still try to reach the
#: address at which Redis was, and pauses for up to a second afterwards.
GRACE_SECONDS = CONNECT_TIMEOUT_SECONDS + 1.5


class Reaper:
    """Takes silent workers and gateways out of the registries."""

    def __init__(
        self, registry: Registry, gateways: LostGateways, leadership: Leadership, metrics: GatewayMetrics
    ) -> None:
        self._registry = registry
        self._gateways = gateways
        self._leadership = leadership
        self._metrics = metrics
        self._last_look = 0.0
        self._patient_until = 0.0

    async def step(self) -> None:
        """Reap what is lost, where this gateway leads."""
        leads = await self._leadership.is_ours()
        if self._is_patient() or not leads:
            return
        for worker_id in await self._registry.lost_workers():
            reaped = await self._registry.reap(worker_id)
            if reaped is None:
                continue
            self._metrics.worker_lost()
            _log.warning("worker_lost", worker_id=worker_id, requeued=len(reaped.requeued), failed=len(reaped.spent))
        await self._gateways.sweep()

    def _is_patient(self) -> bool:
        """Tell whether silence proves nothing yet, because workers may not have been able to be heard."""
        now = time.monotonic()
        if now - self._last_look > HELD_UP_SECONDS:
            self._patient_until = now + GRACE_SECONDS
        self._last_look = now
        return now < self._patient_until
