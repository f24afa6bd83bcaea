"""Conversion jobs in Redis as the converter sees them: claim a stage, report, end; every write fenced by the attempt.

Beside the fields of :class:`ConversionJob` the job's hash has, each a JSON value: `claim:{attempt}:{stage}:{variant}`,
who works on a stage or that it is done; `updated_ms`, the last sign of life; `lost:{stage}:{variant}`, how often a
stage lost its converter; `took:{stage}:{variant}`, what a stage's child took; and `note:…`, what one stage leaves for
the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import orjson
from pydantic import JsonValue, ValidationError

from converter_worker.measurement import StageRecord, measured_figures, record_field, records_of
from shared import keys
from shared.conversion_job import EVENTS_MAX, JOB_TTL_SECONDS, event_fields, job_from_fields
from shared.errors import PlatformError
from shared.log import get_logger
from shared.redis_client import SyncRedis
from shared.schemas.conversion import ENDED, ConversionEvent, ConversionJob, Stage, VariantResult

if TYPE_CHECKING:
    from redis.client import Pipeline

    RedisValue = bytes | bytearray | memoryview[int] | str | int | float

log = get_logger(__name__)

DONE = "done"
#: How far back the list of all jobs is looked through for unfinished ones, such as an older gateway accepted.
NEWEST_JOBS = 1000
StopReason = Literal["cancelled", "superseded"]


@dataclass(frozen=True)
class StageTicket:
    """One delivery of one stage task."""

    conversion_id: str
    stage: Stage
    attempt: int
    variant: str | None = None

    @property
    def claim_field(self) -> str:
        """The field of the job's hash that says who works on it."""
        return f"claim:{self.attempt}:{self.stage}:{self.variant or ''}"


@dataclass(frozen=True)
class JobView:
    """A job with what only the converter reads."""

    job: ConversionJob
    notes: Mapping[str, JsonValue]
    claims: Mapping[str, JsonValue]
    updated_ms: int
    records: tuple[StageRecord, ...] = ()

    @property
    def open_claims(self) -> tuple[str, ...]:
        """The stages of the present attempt that somebody has taken and not done, by their claims."""
        prefix = f"claim:{self.job.attempt}:"
        return tuple(field for field, holder in self.claims.items() if field.startswith(prefix) and holder != DONE)


class Superseded(Exception):
    """The job has ended, or another attempt has taken over: whoever gets this drops its work."""


class JobStore:
    """Reads and writes jobs; safe for several threads."""

    def __init__(self, redis: SyncRedis, worker_id: str, lease_seconds: float) -> None:
        self._redis = redis
        self._worker_id = worker_id
        self._lease_ms = int(lease_seconds * 1000)
        self._left_alone: set[str] = set()

    def find(self, conversion_id: str) -> JobView | None:
        """Return a job; None where there is none, or one that only a newer converter can follow."""
        return self._view(self._redis.hgetall(keys.conversion_job(conversion_id)))

    def is_unfinished(self, conversion_id: str) -> bool:
        """Tell whether a job is queued or running, also one that only a newer converter can follow."""
        state = cast(bytes | None, self._redis.hget(keys.conversion_job(conversion_id), "state"))
        return state is not None and orjson.loads(state) not in ENDED

    def calibration_texts(self, name: str) -> list[str] | None:
        """Return calibration texts that a request brought, None where they are not kept any more."""
        raw = self._redis.get(keys.calibration(name))
        return list(orjson.loads(raw)) if isinstance(raw, bytes) else None

    def unfinished(self) -> list[JobView]:
        """Return the jobs that are queued or running, newest first."""
        newest = cast(list[bytes], self._redis.zrevrange(keys.CONVERSIONS, 0, NEWEST_JOBS - 1))
        # Also those behind a thousand newer ones.
        older = sorted(cast(set[bytes], self._redis.smembers(keys.OPEN_CONVERSIONS)) - set(newest))
        ids = [raw.decode() for raw in (*newest, *older)]
        pipeline = self._redis.pipeline(transaction=False)
        for conversion_id in ids:
            pipeline.hget(keys.conversion_job(conversion_id), "state")
        states = cast(list[bytes | None], pipeline.execute())
        expired = [conversion_id for conversion_id, state in zip(ids, states, strict=True) if state is None]
        if expired:
            self._redis.zrem(keys.CONVERSIONS, *expired)
        views = [
            self.find(conversion_id)
            for conversion_id, state in zip(ids, states, strict=True)
            if state is not None and orjson.loads(state) not in ENDED
        ]
        return [view for view in views if view is not None]

    def sources(self, *, unfinished: bool) -> frozenset[str]:
        """Return the sources of all jobs that are remembered, or of the unfinished ones."""
        ids = [raw.decode() for raw in cast(list[bytes], self._redis.zrange(keys.CONVERSIONS, 0, -1))]
        pipeline = self._redis.pipeline(transaction=False)
        for conversion_id in ids:
            pipeline.hmget(keys.conversion_job(conversion_id), "state", "plan")
        found = cast(list[tuple[bytes | None, bytes | None]], pipeline.execute())
        return frozenset(
            orjson.loads(plan)["source_model"]
            for state, plan in found
            if state is not None and plan is not None and not (unfinished and orjson.loads(state) in ENDED)
        )

    def claim(self, ticket: StageTicket) -> JobView | None:
        """Take a stage for this worker; None for a delivery that is old, a duplicate, or of a job that has ended."""
        job_key = keys.conversion_job(ticket.conversion_id)

        def change(pipeline: "Pipeline") -> JobView | None:
            view = self._view(pipeline.hgetall(job_key))
            refused = (
                view is None
                or view.job.state in ENDED
                or view.job.attempt != ticket.attempt
                or ticket.claim_field in view.claims
            )
            pipeline.multi()
            if refused or view is None:
                return None
            fields: dict[str, JsonValue] = {ticket.claim_field: self._worker_id, "updated_ms": self.now_ms()}
            if view.job.state == "queued":
                fields |= {"state": "running", "started_ms": view.job.started_ms or fields["updated_ms"]}
            pipeline.hset(job_key, mapping=_encode(fields))
            pipeline.set(_lease_key(ticket), self._worker_id, px=self._lease_ms)
            return view

        return cast(JobView | None, self._transaction(change, job_key))

    def release(self, ticket: StageTicket) -> None:
        """Give a stage back, so that its next delivery is taken."""
        pipeline = self._redis.pipeline()
        pipeline.hdel(keys.conversion_job(ticket.conversion_id), ticket.claim_field)
        pipeline.delete(_lease_key(ticket))
        pipeline.execute()

    def complete(self, ticket: StageTicket) -> None:
        """Note that a stage is done: a duplicate delivery will be dropped."""
        self.write(ticket, {ticket.claim_field: DONE})

    def renew_lease(self, ticket: StageTicket) -> bool:
        """Say that the stage is being worked on; False, and nothing said, when it is no longer this worker's.

        A converter that stood still while its job went to another must not keep the other's loss from being seen.
        """
        job_key = keys.conversion_job(ticket.conversion_id)

        def change(pipeline: "Pipeline") -> bool:
            state, attempt, holder = pipeline.hmget(job_key, "state", "attempt", ticket.claim_field)
            pipeline.multi()
            if not state or orjson.loads(state) in ENDED or orjson.loads(attempt or b"0") != ticket.attempt:
                return False
            if holder is None or orjson.loads(holder) != self._worker_id:
                return False
            pipeline.set(_lease_key(ticket), self._worker_id, px=self._lease_ms)
            return True

        return bool(self._transaction(change, job_key))

    def has_leases(self, view: JobView) -> bool:
        """Tell whether every stage of a job that somebody has taken is still being worked on."""
        leases = [keys.conversion_lease(view.job.conversion_id, claim) for claim in view.open_claims]
        return not leases or self._redis.exists(*leases) == len(leases)

    def is_cancel_asked(self, conversion_id: str) -> bool:
        """Tell whether a client wants the job to stop."""
        return bool(self._redis.exists(keys.conversion_cancel(conversion_id)))

    def stop_reason(self, ticket: StageTicket) -> StopReason | None:
        """Tell whether the stage should be stopped, and why."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hmget(keys.conversion_job(ticket.conversion_id), "state", "attempt")
        pipeline.exists(keys.conversion_cancel(ticket.conversion_id))
        (state, attempt), cancelled = pipeline.execute()
        if state is None or orjson.loads(state) in ENDED or orjson.loads(attempt) != ticket.attempt:
            return "superseded"
        return "cancelled" if cancelled else None

    def write(self, ticket: StageTicket, fields: Mapping[str, JsonValue], event: ConversionEvent | None = None) -> None:
        """Change fields of the job's hash and append an event, both or neither.

        Raises:
            Superseded: the job has ended or has another attempt; nothing was written.
        """
        self._write(ticket.conversion_id, ticket.attempt, fields, event, ends=False)

    def end(
        self,
        ticket: StageTicket,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        error: PlatformError | None = None,
        results: tuple[VariantResult, ...] = (),
    ) -> None:
        """End the job with its one last event.

        Raises:
            Superseded: it has ended already, or another attempt has it.
        """
        view = self.find(ticket.conversion_id)
        progress = 1.0 if state == "succeeded" or view is None else view.job.progress
        body = error.body() if error is not None else None
        fields: dict[str, JsonValue] = {
            "state": state,
            "ended_ms": self.now_ms(),
            "progress": progress,
            "waiting": None,
        }
        if view is not None and (measured := measured_figures(view.records, view.notes.get("disk_bytes"))) is not None:
            fields["measured"] = measured.model_dump(mode="json")
        if body is not None:
            fields["error"] = body.model_dump(mode="json")
        if results:
            fields["results"] = [result.model_dump(mode="json") for result in results]
        event = ConversionEvent(
            conversion_id=ticket.conversion_id,
            state=state,
            stage=ticket.stage,
            variant=ticket.variant,
            progress=progress,
            error=body,
        )
        self._write(ticket.conversion_id, ticket.attempt, fields, event, ends=True)

    def raise_attempt(self, seen: JobView) -> tuple[int, int] | None:
        """Take a job away from whoever had it; None when somebody else did so first, or it goes on after all.

        Returns the new attempt, and how often the stages that are lost now have been lost.
        """
        job_key = keys.conversion_job(seen.job.conversion_id)

        def change(pipeline: "Pipeline") -> tuple[int, int] | None:
            fields = cast(dict[bytes, bytes], pipeline.hgetall(job_key))
            view = self._view(fields)
            pipeline.multi()
            if view is None or view.job.state in ENDED or view.updated_ms != seen.updated_ms:
                return None
            if (view.job.attempt, view.open_claims) != (seen.job.attempt, seen.open_claims):
                return None
            attempt = view.job.attempt + 1
            lost = ["lost:" + claim.removeprefix(f"claim:{view.job.attempt}:") for claim in view.open_claims]
            losses = {name: orjson.loads(fields.get(name.encode(), b"0")) + 1 for name in lost}
            pipeline.hset(job_key, mapping=_encode({"attempt": attempt, "updated_ms": self.now_ms(), **losses}))
            return attempt, max(losses.values(), default=0)

        return cast(tuple[int, int] | None, self._transaction(change, job_key))

    def start_counting(self, ticket: StageTicket, variants: list[str]) -> None:
        """Note which variants are to be compressed; repeating it before one is counted changes nothing."""
        pending = keys.conversion_pending(ticket.conversion_id, ticket.attempt)
        parts = keys.conversion_parts(ticket.conversion_id, ticket.attempt)
        pipeline = self._redis.pipeline()
        pipeline.sadd(pending, *variants)
        pipeline.expire(pending, JOB_TTL_SECONDS)
        for variant in variants:
            pipeline.hsetnx(parts, variant, "0")
        pipeline.expire(parts, JOB_TTL_SECONDS)
        pipeline.execute()

    def count_down(self, ticket: StageTicket) -> int:
        """Note that a variant is compressed and return how many are left."""
        pending = keys.conversion_pending(ticket.conversion_id, ticket.attempt)
        pipeline = self._redis.pipeline()
        pipeline.srem(pending, ticket.variant or "")
        pipeline.scard(pending)
        return int(pipeline.execute()[1])

    def note_part(self, ticket: StageTicket, progress: float) -> tuple[float, int]:
        """Note how far a variant's compression is; return the sum over all variants, and how many there are."""
        parts = keys.conversion_parts(ticket.conversion_id, ticket.attempt)
        pipeline = self._redis.pipeline()
        pipeline.hset(parts, ticket.variant or "", str(progress))
        # A child may report once more when its job has ended.
        pipeline.expire(parts, JOB_TTL_SECONDS)
        pipeline.hvals(parts)
        known = cast(list[bytes], pipeline.execute()[-1])
        return sum(map(float, known)), len(known)

    def note_took(self, ticket: StageTicket, record: StageRecord) -> None:
        """Keep what a stage's child took.

        Raises:
            Superseded: the job has ended, or another attempt has it.
        """
        self.write(ticket, {record_field(record): record.model_dump(mode="json")})

    def _write(
        self,
        conversion_id: str,
        attempt: int,
        fields: Mapping[str, JsonValue],
        event: ConversionEvent | None,
        *,
        ends: bool,
    ) -> None:
        job_key, events_key = keys.conversion_job(conversion_id), keys.conversion_events(conversion_id)
        now_ms = self.now_ms()

        def change(pipeline: "Pipeline") -> bool:
            state, present, known = pipeline.hmget(job_key, "state", "attempt", "progress")
            pipeline.multi()
            if state is None or orjson.loads(state) in ENDED or orjson.loads(present or b"0") != attempt:
                return False
            # Of variants that are worked on side by side the slower one may report what the faster one has passed.
            progress = max(float(orjson.loads(known or b"0")), 0.0 if event is None else event.progress)
            forward = {"progress": progress} if event is not None else {}
            pipeline.hset(job_key, mapping=_encode({**fields, **forward, "updated_ms": now_ms}))
            if event is not None:
                told = event.model_copy(update=forward)
                entry: dict[RedisValue, RedisValue] = dict(event_fields(told).items())
                pipeline.xadd(events_key, entry, maxlen=EVENTS_MAX, approximate=True)
            if ends:
                pipeline.delete(keys.conversion_cancel(conversion_id), keys.conversion_pending(conversion_id, attempt))
                pipeline.delete(keys.conversion_parts(conversion_id, attempt))
                pipeline.expire(job_key, JOB_TTL_SECONDS)
                pipeline.expire(events_key, JOB_TTL_SECONDS)
                pipeline.srem(keys.OPEN_CONVERSIONS, conversion_id)
            return True

        if not self._transaction(change, job_key):
            raise Superseded

    def _transaction(self, change: "Callable[[Pipeline], object]", key: str) -> object:
        # Typed as if the callable returned nothing, which `value_from_callable` is for.
        return self._redis.transaction(cast("Callable[[Pipeline], None]", change), key, value_from_callable=True)

    def now_ms(self) -> int:
        """Return Redis' time in ms."""
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    def _view(self, raw: object) -> JobView | None:
        fields = cast(dict[bytes, bytes], raw)
        if not fields:
            return None
        extra = {name.decode(): orjson.loads(value) for name, value in fields.items()}
        try:
            job, records = job_from_fields(fields, to_follow=True), records_of(extra)
        except ValidationError as error:
            self._leave_alone(str(extra.get("conversion_id")), error)
            return None
        return JobView(
            job=job,
            notes={name.removeprefix("note:"): value for name, value in extra.items() if name.startswith("note:")},
            claims={name: value for name, value in extra.items() if name.startswith("claim:")},
            updated_ms=int(extra.get("updated_ms") or extra["created_ms"]),
            records=records,
        )

    def _leave_alone(self, conversion_id: str, error: ValidationError) -> None:
        """Say once that a job is left to the converters that know what it asks for."""
        if conversion_id not in self._left_alone:
            self._left_alone.add(conversion_id)
            fields = [".".join(map(str, one["loc"])) for one in error.errors(include_url=False)]
            log.warning("conversion_of_newer_version", conversion_id=conversion_id, unknown=fields[:3])


def _lease_key(ticket: StageTicket) -> str:
    return keys.conversion_lease(ticket.conversion_id, ticket.claim_field)


def _encode(fields: Mapping[str, JsonValue]) -> "dict[RedisValue, RedisValue]":
    return {name: orjson.dumps(value) for name, value in fields.items()}
