"""The converter's Celery tasks: thin, idempotent, ids in and nothing out."""

from collections.abc import Callable

from celery import Celery
from celery.exceptions import Reject

from converter_worker.conversion import Conversions, ShuttingDown
from converter_worker.job_store import StageTicket
from converter_worker.store_runs import StoreRuns
from converter_worker.variant_deletion import delete_published
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import ModelStore
from shared.schemas.conversion import Stage


def ticket_sender(app: Celery) -> Callable[[StageTicket], None]:
    """Return the function that puts a stage into the queue."""

    def send(ticket: StageTicket) -> None:
        app.send_task(
            keys.TASK_RUN_STAGE,
            kwargs={
                "conversion_id": ticket.conversion_id,
                "stage": ticket.stage,
                "attempt": ticket.attempt,
                "variant": ticket.variant,
            },
            queue=keys.CONVERSION_QUEUE,
        )

    return send


def register_stages(app: Celery, conversions: Conversions) -> None:
    """Give the application of the stages its task."""

    @app.task(name=keys.TASK_RUN_STAGE)  # type: ignore[untyped-decorator]
    def run_stage(conversion_id: str, stage: Stage, attempt: int, variant: str | None = None) -> None:
        try:
            conversions.run_stage(StageTicket(conversion_id, stage, attempt, variant))
        except ShuttingDown as error:
            raise Reject("the worker shuts down", requeue=True) from error


def register_store_tasks(app: Celery, store: ModelStore, index: VariantIndex, runs: StoreRuns) -> None:
    """Give the application of the store its tasks; each is done in seconds or minutes, and done again without harm."""

    @app.task(name=keys.TASK_DELETE_VARIANT)  # type: ignore[untyped-decorator]
    def delete_variant(model: str, variant: str, created_at: str) -> None:
        delete_published(store, index, model, variant, created_at)

    @app.task(name=keys.TASK_STORE_RUN)  # type: ignore[untyped-decorator]
    def run_over_store(run_id: str) -> None:
        runs.carry_out(run_id)

    @app.task(name=keys.TASK_REINDEX)  # type: ignore[untyped-decorator]
    def reindex() -> None:
        index.rebuild()
