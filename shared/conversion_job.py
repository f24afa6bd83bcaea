"""A conversion job in Redis: its hash form, and the digest by which the same request joins a running job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson
from pydantic import TypeAdapter

from shared.schemas.conversion import ConversionEvent, ConversionJob, ConversionPlan

#: Ended jobs and their events are kept this long.
JOB_TTL_SECONDS = 30 * 24 * 3600
#: Entries kept in a job's event stream.
EVENTS_MAX = 10_000

_JOB: TypeAdapter[ConversionJob] = TypeAdapter(ConversionJob)


def job_fields(job: ConversionJob) -> dict[str, bytes]:
    """Return the hash fields of a job, each a JSON value, so that one can be changed without the others."""
    return {name: orjson.dumps(value) for name, value in job.model_dump(mode="json").items()}


def job_from_fields(fields: Mapping[bytes, bytes], *, to_follow: bool = False) -> ConversionJob:
    """Return the job that a hash holds.

    Of a job of a newer ovchat, what only that knows is left out, unless the job is read `to_follow` its recipes.

    Raises:
        ValidationError: a newer ovchat wrote something that cannot be left out.
    """
    read = {name.decode(): orjson.loads(value) for name, value in fields.items()}
    return _JOB.validate_python(read, extra=None if to_follow else "ignore")


def plan_digest(plan: ConversionPlan) -> str:
    """Return the digest of what a job makes: equal for requests that ask for the same."""
    return hashlib.sha256(orjson.dumps(plan.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()


def event_fields(event: ConversionEvent) -> dict[str, bytes]:
    """Return the stream fields of an event."""
    return {"e": orjson.dumps(event.model_dump(mode="json"))}


def event_from_fields(fields: Mapping[bytes, bytes]) -> ConversionEvent:
    """Return the event that a stream entry holds."""
    return ConversionEvent.model_validate_json(fields[b"e"])
