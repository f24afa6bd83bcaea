"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio

import redis.exceptions
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from gateway.dependencies import StateDep
from gateway.exception_handlers import redis_error
from gateway.health.pool_metrics import PoolMetrics
from gateway.health.pool_view import look_at_pool
from gateway.health.redis_facts import PROBE_SECONDS, look_at_redis
from shared import keys
from shared.errors import Draining

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A probe's answer."""

    status: str = "ok"


@router.get("/livez")
async def livez() -> Health:
    """Say that the process lives, whatever it depends on."""
    return Health()


@router.get("/readyz")
async def readyz(state: StateDep) -> Health:
    """Say whether requests can be served: Redis takes writes and the process does not drain."""
    if state.draining.is_set:
        raise Draining("This gateway is shutting down.")
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            for client in (state.redis, state.transport):
                # Refused where a write is, by a full Redis; it writes nothing.
                await client.setrange(keys.NOTHING, 0, "")
    except (redis.exceptions.RedisError, OSError) as error:
        raise redis_error(error) from None
    return Health()


@router.get("/metrics", response_class=Response)
async def metrics(state: StateDep) -> Response:
    """Return the metrics in Prometheus' text form; without those of the pool while Redis is away."""
    databases = {"state": state.redis}
    if state.settings.transport_url != state.settings.redis_url:
        databases["transport"] = state.transport
    redis_facts = await look_at_redis(databases)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            pool = await look_at_pool(state.redis, state.transport, state.registry)
    except (redis.exceptions.RedisError, OSError):
        pool = None
    shown = PoolMetrics(pool, redis_facts, state.settings.max_waiting)
    return Response(state.metrics.render(shown), media_type=CONTENT_TYPE_LATEST)
