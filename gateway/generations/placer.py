"""Keeps as many replicas loaded as admins asked for; one gateway at a time does this."""

from __future__ import annotations

from gateway.generations.leadership import Leadership
from gateway.generations.routing import choose_hosts
from gateway.models.index import ModelIndex
from gateway.models.placements import Placements
from gateway.models.variant_engines import VariantEngines
from shared import keys
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.registry import Registry
from shared.schemas.workers import LoadVariant

_log = get_logger(__name__)

#: Seconds between looks; a worker that was told and has not begun yet is told again after as long.
PLACER_SECONDS = 5.0


class Placer:
    """Tells workers what is pinned, how engines are configured, and to load what too few of them have."""

    def __init__(
        self,
        transport: AsyncRedis,
        placements: Placements,
        engines: VariantEngines,
        models: ModelIndex,
        registry: Registry,
        leadership: Leadership,
    ) -> None:
        self._redis = transport
        self._placements = placements
        self._engines = engines
        self._models = models
        self._registry = registry
        self._leadership = leadership

    async def step(self) -> None:
        """Look once, where this gateway leads."""
        if not await self._leadership.is_ours():
            return
        # A transport Redis that lost its memory has them again before long.
        await self._engines.publish()
        placements = await self._placements.all()
        await self._pin([name for name, placement in placements.items() if placement.pinned or placement.replicas])
        for name, placement in placements.items():
            if not placement.replicas or await self._models.find(*name.rsplit(":", 1)) is None:
                continue
            for worker_id in choose_hosts(name, await self._registry.workers(), placement.replicas):
                _log.info("replica_wanted", variant=name, worker_id=worker_id, replicas=placement.replicas)
                await self._registry.send(worker_id, LoadVariant(variant=name))

    async def _pin(self, variants: list[str]) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(keys.PINNED)
            if variants:
                pipeline.sadd(keys.PINNED, *variants)
            await pipeline.execute()
