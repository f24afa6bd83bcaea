"""How admins and tunings want the engine of a variant, kept in the state Redis and copied to where workers read it."""

from __future__ import annotations

from itertools import chain
from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis
from shared.schemas.engine_config import EngineConfig, Tuning, VariantEngine


class VariantEngines:
    """Configurations and tunings by ``model:variant``; what is not stored is the default."""

    def __init__(self, state: AsyncRedis, transport: AsyncRedis) -> None:
        self._redis = state
        self._transport = transport

    async def find(self, variant: str) -> VariantEngine:
        """Return what is stored of a variant."""
        return (await self._all()).get(variant, VariantEngine())

    async def set_config(self, variant: str, config: EngineConfig) -> None:
        """Configure a variant so from its next load on; the empty configuration takes everything back."""
        if config == EngineConfig():
            await self._redis.hdel(keys.ENGINE_CONFIGS, variant)
        else:
            await self._redis.hset(keys.ENGINE_CONFIGS, variant, config.model_dump_json(exclude_none=True))
        await self.publish()

    async def set_tuning(self, variant: str, tuning: Tuning) -> None:
        """Keep a tuning in place of an earlier one of the same device, mode and kind of host."""
        await self._redis.hset(keys.TUNINGS, f"{variant}|{tuning.key}", tuning.model_dump_json(exclude_none=True))
        await self.publish()

    async def publish(self) -> None:
        """Copy everything to the transport Redis, the only one that workers know."""
        found = {name: engine.model_dump_json(exclude_none=True) for name, engine in (await self._all()).items()}
        async with self._transport.pipeline(transaction=True) as pipeline:
            pipeline.delete(keys.VARIANT_ENGINES)
            if found:
                pipeline.hset(keys.VARIANT_ENGINES, items=list(chain.from_iterable(found.items())))
            await pipeline.execute()

    async def _all(self) -> dict[str, VariantEngine]:
        configs = cast(dict[bytes, bytes], await self._redis.hgetall(keys.ENGINE_CONFIGS))
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.TUNINGS))
        tunings: dict[str, list[Tuning]] = {}
        for field in sorted(stored):
            variant = field.decode().partition("|")[0]
            tunings.setdefault(variant, []).append(Tuning.model_validate_json(stored[field]))
        by_name = {name.decode(): EngineConfig.model_validate_json(raw) for name, raw in configs.items()}
        return {
            name: VariantEngine(config=by_name.get(name, EngineConfig()), tunings=tuple(tunings.get(name, ())))
            for name in {*by_name, *tunings}
        }
