"""What jobs wait for that no converter can say, because there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import redis.exceptions

from gateway.converters.registry import living_converters
from shared.redis_client import AsyncRedis
from shared.schemas.conversion import ENDED, ConversionJob

NO_CONVERTER = "waiting for a converter: none is running. Start one, and it goes on."


async def with_reasons(transport: AsyncRedis, jobs: Sequence[ConversionJob]) -> list[ConversionJob]:
    """Return the jobs; those that have not ended say so where no converter lives."""
    if any(job.state not in ENDED for job in jobs):
        # A job is told of without its reason rather than not at all.
        with contextlib.suppress(redis.exceptions.RedisError):
            if not await living_converters(transport):
                return [job if job.state in ENDED else job.model_copy(update={"waiting": NO_CONVERTER}) for job in jobs]
    return list(jobs)
