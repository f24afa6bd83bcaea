"""The converter's Celery tasks: thin, idempotent, ids in and nothing out."""

import contextlib
from collections.abc import Iterator

import redis.exceptions
from celery import Celery
from celery.exceptions import Reject

from converter_worker.conversion import Conversions, ShuttingDown
from converter_worker.job_store import StageTicket
from converter_worker.passing_on import SendTicket
from converter_worker.store_runs import StoreRuns
from converter_worker.variant_deletion import delete_published
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import ModelStore
from shared.schemas.conversion import Stage


def ticket_sender(app: Celery) -> SendTicket:
    """Return the function that puts a stage into a queue."""

    def send(ticket: StageTicket, worker_id: str | None) -> None:
        app.send_task(
            keys.TASK_RUN_STAGE,
            kwargs={
                "conversion_id": ticket.conversion_id,
                "stage": ticket.stage,
                "attempt": ticket.attempt,
                "variant": ticket.variant,
                "passed_on": worker_id is not None,
            },
            queue=keys.CONVERSION_QUEUE if worker_id is None else keys.converter_queue(worker_id),
        )

    return send


def register_stages(app: Celery, conversions: Conversions) -> None:
    """Give the application of the stages its task."""

    @app.task(name=keys.TASK_RUN_STAGE)  # type: ignore[untyped-decorator]
    def run_stage(
        conversion_id: str, stage: Stage, attempt: int, variant: str | None = None, passed_on: bool = False
    ) -> None:
        ticket = StageTicket(conversion_id, stage, attempt, variant)
        try:
            conversions.run_stage(ticket, passed_on=passed_on)
        except ShuttingDown as error:
            if passed_on:
                # Nobody reads this worker's own queue any more.
                conversions.send(ticket, None)
                return
            raise Reject("the worker shuts down", requeue=True) from error


def register_store_tasks(app: Celery, store: ModelStore, index: VariantIndex, runs: StoreRuns) -> None:
    """Give the application of the store its tasks; each is done in seconds or minutes, and done again without harm.

    Nobody looks for those that are lost, so one that Redis broke off goes back into the queue.
    """

    @app.task(name=keys.TASK_DELETE_VARIANT)  # type: ignore[untyped-decorator]
    def delete_variant(model: str, variant: str, created_at: str) -> None:
        with _again_where_redis_is_away():
            delete_published(store, index, model, variant, created_at)

    @app.task(name=keys.TASK_STORE_RUN)  # type: ignore[untyped-decorator]
    def run_over_store(run_id: str) -> None:
        with _again_where_redis_is_away():
            runs.carry_out(run_id)

    @app.task(name=keys.TASK_REINDEX)  # type: ignore[untyped-decorator]
    def reindex() -> None:
        index.rebuild()


@contextlib.contextmanager
def _again_where_redis_is_away() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise Reject(f"Redis is away: {error}", requeue=True) from error
