"""A conversion job in Redis: its hash form, and what it holds so that the same request joins it while it is open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson
from pydantic import TypeAdapter

from shared.schemas.conversion import ConversionEvent, ConversionJob, ConversionPlan

#: Ended jobs and their events are kept this long.
JOB_TTL_SECONDS = 30 * 24 * 3600
#: A job that found everything published tells nothing that the list of models does not tell.
NEEDLESS_JOB_TTL_SECONDS = 24 * 3600
#: An id is in the list of all jobs this long at most.
LISTED_SECONDS = 2 * JOB_TTL_SECONDS
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


def held_names(plan: ConversionPlan) -> bytes:
    """Return what a job keeps for itself while it is open, as JSON for the script that accepts jobs.

    `digest` is equal for requests that ask for the same; the model's name is the source's, and each variant's name that
    of a recipe. An import whose variant nobody knows yet has a nameless one.
    """
    made = {variant.name: variant.model_dump(mode="json") for variant in plan.variants} or {plan.variant or "": {}}
    return orjson.dumps(
        {
            "digest": _digest(plan.model_dump(mode="json")),
            "model": plan.model,
            "source_model": plan.source_model,
            "variants": {name: _digest([plan.kind, plan.revision, variant]) for name, variant in made.items()},
        }
    )


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def event_fields(event: ConversionEvent) -> dict[str, bytes]:
    """Return the stream fields of an event."""
    return {"e": orjson.dumps(event.model_dump(mode="json"))}


def event_from_fields(fields: Mapping[bytes, bytes]) -> ConversionEvent:
    """Return the event that a stream entry holds."""
    return ConversionEvent.model_validate_json(fields[b"e"])
