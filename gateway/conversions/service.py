"""Conversion jobs in Redis as the gateway sees them: accept, look up, cancel, follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import orjson
from pydantic import ValidationError

from gateway.conversion_client import ConversionTasks
from gateway.conversions.planning import is_path, is_same_model, plan_conversion, plan_import, published_already
from gateway.models.index import ModelIndex
from shared import keys
from shared.calibration import calibration_texts
from shared.catalog import Catalog
from shared.conversion_job import (
    JOB_TTL_SECONDS,
    LISTED_SECONDS,
    NEEDLESS_JOB_TTL_SECONDS,
    event_from_fields,
    held_names,
    job_fields,
    job_from_fields,
)
from shared.errors import ConversionNotFound, InternalError, NameTaken, VariantExists
from shared.ids import new_id
from shared.log import get_logger
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.schemas.conversion import ENDED, ConversionEvent, ConversionJob, ConversionRequest, ImportRequest
from shared.scripts import load_script
from shared.streams import read_stream

log = get_logger(__name__)

#: Milliseconds that a follower waits for the next event before it says that it still lives.
FOLLOW_BLOCK_MS = 10_000


class ConversionService:
    """Accepts and follows conversion jobs."""

    def __init__(
        self,
        state: AsyncRedis,
        blocking: AsyncRedis,
        models: ModelIndex,
        catalog: Catalog,
        tasks: ConversionTasks,
    ) -> None:
        self._redis = state
        self._blocking = blocking
        self._models = models
        self._catalog = catalog
        self._tasks = tasks
        self._submit = load_script(state, "submit_conversion")
        self._cancel = load_script(state, "cancel_conversion")

    async def submit(
        self, request: ConversionRequest | ImportRequest, user: str | None = None
    ) -> tuple[ConversionJob, bool]:
        """Accept a user's job; return it and whether it was running already.

        Raises:
            NameTaken: another source has the public name.
            VariantExists: a variant of this name is published, or on its way, with another recipe.
            InvalidRequest: the request makes no sense.
        """
        is_import = isinstance(request, ImportRequest)
        plan = plan_import(request) if isinstance(request, ImportRequest) else plan_conversion(request, self._catalog)
        records = (await self._models.variants()).get(plan.model, ())
        if records and not is_same_model(records[0].source_model, plan.source_model):
            raise _name_taken(plan.model, records[0].source_model)
        done = published_already(plan, records)
        # Which variant an import is, and whether a folder still holds what was converted, only the converter sees.
        complete = len(done) == len(plan.variants) and not is_import and not is_path(plan.source_model)
        now_ms = await redis_now_ms(self._redis)
        job = ConversionJob(
            conversion_id=new_id("conv"),
            plan=plan,
            state="succeeded" if complete else "queued",
            progress=1.0 if complete else 0.0,
            created_ms=now_ms,
            ended_ms=now_ms if complete else None,
            results=done,
            user=user,
        )
        event = ConversionEvent(
            conversion_id=job.conversion_id,
            state=job.state,
            progress=job.progress,
            message="every variant is published already" if complete else None,
        )
        if isinstance(request, ConversionRequest):
            await self._keep_texts(request)
        fields: list[bytes | str] = []
        for name, value in job_fields(job).items():
            fields += (name, value)
        outcome, detail = cast(
            tuple[bytes, bytes],
            await self._submit(
                args=[
                    job.conversion_id,
                    held_names(plan),
                    now_ms,
                    orjson.dumps(event.model_dump(mode="json")),
                    NEEDLESS_JOB_TTL_SECONDS if complete else "",
                    LISTED_SECONDS,
                    *fields,
                ]
            ),
        )
        if outcome == b"name_taken":
            owner = detail.decode()
            if is_same_model(owner, plan.source_model):
                raise NameTaken(
                    f"Another variant of {plan.model} is on its way from {owner}: ask again when that has ended, or "
                    "give another `name`.",
                    param="name",
                )
            raise _name_taken(plan.model, owner)
        if outcome == b"variant_taken":
            what = f"{plan.model}:{detail.decode()}" if detail else f"A variant of {plan.model}"
            raise VariantExists(
                f"{what} is on its way with another recipe or revision. Ask again when it has ended, or choose another "
                "variant name.",
                param="variants",
            )
        if outcome == b"joined":
            return await self.get(detail.decode()), True
        if not complete:
            await self._tasks.start(job.conversion_id)
        return job, False

    async def _keep_texts(self, request: ConversionRequest) -> None:
        """Keep calibration texts for the converter: too many to be in the job, of which every list of jobs tells."""
        for name, texts in calibration_texts(request).items():
            await self._redis.set(keys.calibration(name), orjson.dumps(texts), ex=JOB_TTL_SECONDS)

    async def get(self, conversion_id: str) -> ConversionJob:
        """Return a job.

        Raises:
            ConversionNotFound: there is none of this id.
        """
        fields = cast(dict[bytes, bytes], await self._redis.hgetall(keys.conversion_job(conversion_id)))
        if not fields:
            raise ConversionNotFound(f"There is no conversion {conversion_id!r}.", param="conversion_id")
        try:
            return job_from_fields(fields)
        except ValidationError as error:
            raise InternalError(
                f"The conversion {conversion_id} was written by a newer ovchat. Update this gateway to read it."
            ) from error

    async def recent(self, limit: int) -> list[ConversionJob]:
        """Return the newest jobs, newest first."""
        ids = cast(list[bytes], await self._redis.zrevrange(keys.CONVERSIONS, 0, limit - 1))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for conversion_id in ids:
                pipeline.hgetall(keys.conversion_job(conversion_id.decode()))
            found = await pipeline.execute()
        jobs = []
        for conversion_id, fields in zip(ids, found, strict=True):
            try:
                jobs += [job_from_fields(fields)] if fields else []
            except ValidationError:
                log.warning("conversion_of_newer_version", conversion_id=conversion_id.decode())
        return jobs

    async def cancel(self, conversion_id: str) -> ConversionJob:
        """Ask a job to stop: at once where it waits, by its worker where it runs; nothing where it has ended."""
        event = ConversionEvent(conversion_id=conversion_id, state="cancelled", progress=0.0)
        await self._cancel(args=[conversion_id, orjson.dumps(event.model_dump(mode="json")), JOB_TTL_SECONDS])
        return await self.get(conversion_id)

    async def follow(self, conversion_id: str, after: str) -> AsyncIterator[tuple[str, ConversionEvent] | None]:
        """Yield (entry id, event) after an entry id until the job has ended; None where nothing came for a while."""
        last = after
        while True:
            entries = await read_stream(
                self._blocking, keys.conversion_events(conversion_id), last, count=100, block_ms=FOLLOW_BLOCK_MS
            )
            for entry_id, fields in entries:
                last = entry_id.decode()
                event = event_from_fields(fields)
                yield last, event
                if event.state in ENDED:
                    return
            if not entries:
                yield None
                if (await self.get(conversion_id)).state in ENDED:
                    return


def _name_taken(model: str, source_model: str) -> NameTaken:
    return NameTaken(f"The name {model} is that of {source_model} already. Give another `name`.", param="name")
