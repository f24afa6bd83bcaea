"""A conversion job put into Redis at once, without the gateway that accepts them."""

import redis

from shared import keys
from shared.conversion_job import job_fields
from shared.schemas.conversion import ConversionJob


def write_job(client: redis.Redis, job: ConversionJob) -> str:
    """Write a job and return its id; no message of it is sent."""
    pipeline = client.pipeline()
    pipeline.hset(keys.conversion_job(job.conversion_id), mapping=job_fields(job))  # type: ignore[arg-type]
    pipeline.zadd(keys.CONVERSIONS, {job.conversion_id: job.created_ms})
    pipeline.execute()
    return job.conversion_id
