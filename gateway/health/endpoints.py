"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio

import redis.exceptions
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from gateway.dependencies import StateDep
from gateway.exception_handlers import redis_error
from shared import keys
from shared.errors import Draining

router = APIRouter(tags=["health"])

#: Seconds within which Redis must answer for the gateway to count as ready.
PROBE_SECONDS = 2.0


class Health(BaseModel):
    """A probe's answer."""

    status: str = "ok"


@router.get("/livez")
async def livez() -> Health:
    """Say that the process lives, whatever it depends on."""
    return Health()


@router.get("/readyz")
async def readyz(state: StateDep) -> Health:
    """Say whether requests can be served: Redis answers and the process does not drain."""
    if state.draining.is_set:
        raise Draining("This gateway is shutting down.")
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await state.redis.ping()
            await state.transport.ping()
    except (redis.exceptions.RedisError, OSError):
        raise redis_error() from None
    return Health()


@router.get("/metrics", response_class=Response)
async def metrics(state: StateDep) -> Response:
    """Return the metrics in Prometheus' text form."""
    waiting = {
        variant: await state.transport.zcard(keys.waiting(variant)) for variant in await state.queue.waiting_variants()
    }
    body = state.metrics.render(await state.registry.workers(), waiting)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
