"""What all gateways see alike, read when the metrics are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

import orjson

from gateway.converters.registry import living_converters
from shared import keys
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.registry import Registry
from shared.schemas.conversion import ConversionState
from shared.schemas.converters import ConverterInfo

#: Conversion jobs that are looked at, the newest.
NEWEST_JOBS = 1000


@dataclass(frozen=True, slots=True)
class Conversions:
    """Jobs by state, and the seconds since the running job that has been silent for longest told something."""

    states: Mapping[str, int] = field(default_factory=dict)
    silent_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolView:
    """Counts: workers by device, waiting generations by ``model:variant``, ended ones that no gateway has stored.

    Attributes:
        waited_seconds: since when the oldest waits, by ``model:variant``.
    """

    workers: Mapping[str, int]
    waiting: Mapping[str, int]
    waited_seconds: Mapping[str, float]
    unstored: int
    conversions: Conversions
    converters: tuple[ConverterInfo, ...]


async def look_at_pool(state: AsyncRedis, transport: AsyncRedis, registry: Registry) -> PoolView:
    """Return the counts of now. A variant that is loaded or waited for is in `waiting`, a state without jobs is 0."""
    workers = await registry.workers()
    waited_for = {name.decode() for name in cast(set[bytes], await transport.smembers(keys.WAITING_VARIANTS))}
    variants = sorted(waited_for | {replica.key for worker in workers for replica in worker.info.replicas})
    now_ms = await redis_now_ms(transport)
    async with transport.pipeline(transaction=False) as pipeline:
        for variant in variants:
            pipeline.zcard(keys.waiting(variant))
            pipeline.zrange(keys.arrivals(variant), 0, 0, withscores=True)
        pipeline.xlen(keys.FINISHED)
        *found, unstored = cast(list[int | list[tuple[bytes, float]]], await pipeline.execute())
    oldest = cast(list[list[tuple[bytes, float]]], found[1::2])
    return PoolView(
        workers=Counter(worker.info.device for worker in workers),
        waiting=dict(zip(variants, cast(list[int], found[::2]), strict=True)),
        waited_seconds={
            variant: max(0.0, now_ms - first[0][1]) / 1000 if first else 0.0
            for variant, first in zip(variants, oldest, strict=True)
        },
        unstored=cast(int, unstored),
        conversions=await _look_at_conversions(state),
        converters=tuple(await living_converters(transport)),
    )


async def _look_at_conversions(state: AsyncRedis) -> Conversions:
    ids = cast(list[bytes], await state.zrevrange(keys.CONVERSIONS, 0, NEWEST_JOBS - 1))
    now_ms = await redis_now_ms(state)
    async with state.pipeline(transaction=False) as pipeline:
        for conversion_id in ids:
            pipeline.hmget(keys.conversion_job(conversion_id.decode()), "state", "updated_ms")
        jobs = cast(list[tuple[bytes | None, bytes | None]], await pipeline.execute())
    known = [(orjson.loads(name), now_ms if raw is None else orjson.loads(raw)) for name, raw in jobs if name]
    states = Counter(name for name, _ in known)
    silent_since_ms = min((updated_ms for name, updated_ms in known if name == "running"), default=now_ms)
    return Conversions(
        {name: states[name] for name in get_args(ConversionState)}, max(0.0, now_ms - silent_since_ms) / 1000
    )
