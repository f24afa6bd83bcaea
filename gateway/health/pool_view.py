"""What all gateways see alike, read when the metrics are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from shared import keys
from shared.redis_client import AsyncRedis
from shared.registry import Registry
from shared.schemas.conversion import ConversionState

#: Conversion jobs that are looked at, the newest.
NEWEST_JOBS = 1000


@dataclass(frozen=True, slots=True)
class PoolView:
    """Counts: workers by device, waiting generations by ``model:variant``, conversions by state."""

    workers: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    conversions: Mapping[str, int] = field(default_factory=dict)


async def look_at_pool(state: AsyncRedis, transport: AsyncRedis, registry: Registry) -> PoolView:
    """Return the counts of now. A variant that is loaded or waited for is in `waiting`, a state without jobs is 0."""
    workers = await registry.workers()
    waited_for = {name.decode() for name in cast(set[bytes], await transport.smembers(keys.WAITING_VARIANTS))}
    variants = sorted(waited_for | {replica.key for worker in workers for replica in worker.info.replicas})
    async with transport.pipeline(transaction=False) as pipeline:
        for variant in variants:
            pipeline.zcard(keys.waiting(variant))
        waiting = cast(list[int], await pipeline.execute())
    ids = cast(list[bytes], await state.zrevrange(keys.CONVERSIONS, 0, NEWEST_JOBS - 1))
    async with state.pipeline(transaction=False) as pipeline:
        for conversion_id in ids:
            pipeline.hget(keys.conversion_job(conversion_id.decode()), "state")
        states = Counter(raw.decode().strip('"') for raw in cast(list[bytes | None], await pipeline.execute()) if raw)
    return PoolView(
        workers=Counter(worker.info.device for worker in workers),
        waiting=dict(zip(variants, waiting, strict=True)),
        conversions={name: states[name] for name in get_args(ConversionState)},
    )
