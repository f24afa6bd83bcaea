"""The converter's Celery tasks: thin, idempotent, ids in and nothing out."""

from collections.abc import Callable

from celery import Celery
from celery.exceptions import Reject

from converter_worker.conversion import Conversions, ShuttingDown
from converter_worker.job_store import StageTicket
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.errors import VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.schemas.conversion import Stage

log = get_logger(__name__)


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


def register_tasks(app: Celery, conversions: Conversions, store: ModelStore, index: VariantIndex) -> None:
    """Give the application its tasks, bound to their services."""

    @app.task(name=keys.TASK_RUN_STAGE)  # type: ignore[untyped-decorator]
    def run_stage(conversion_id: str, stage: Stage, attempt: int, variant: str | None = None) -> None:
        try:
            conversions.run_stage(StageTicket(conversion_id, stage, attempt, variant))
        except ShuttingDown as error:
            raise Reject("the worker shuts down", requeue=True) from error

    @app.task(name=keys.TASK_DELETE_VARIANT)  # type: ignore[untyped-decorator]
    def delete_variant(model: str, variant: str) -> None:
        try:
            store.delete(model, variant)
        except VariantNotPublished:
            log.info("variant_deleted_before", model=model, variant=variant)
        index.remove(model, variant)
        log.info("variant_deleted", model=model, variant=variant)

    @app.task(name=keys.TASK_REINDEX)  # type: ignore[untyped-decorator]
    def reindex() -> None:
        index.rebuild()
