"""The Celery application: JSON only, late acknowledgement, as many stages at a time as the converter has slots."""

from celery import Celery

from shared import keys
from shared.settings import ConverterSettings

#: The broker hands a message out again after the stage's time limit and this much more. It is no failure detection: a
#: dead worker is found by its lease (`reaper.py`).
VISIBILITY_RESERVE_SECONDS = 3600
#: What was under way on the store when its converter was killed is done again after this time; what takes longer is
#: begun a second time elsewhere, without harm.
STORE_VISIBILITY_SECONDS = 600


def make_celery(settings: ConverterSettings, queue: str = keys.CONVERSION_QUEUE) -> Celery:
    """Return an application for one queue of the transport Redis.

    Nothing connects yet, and it is not made the current one.
    """
    visibility: dict[str, object] = {
        "visibility_timeout": settings.stage_time_limit_seconds + VISIBILITY_RESERVE_SECONDS
    }
    if queue == keys.STORE_QUEUE:
        # Of its own, or the stages' time would count for its messages too, and its for theirs.
        names = {f"{name}_key": f"{queue}.{name}" for name in ("unacked", "unacked_index", "unacked_mutex")}
        visibility = {"visibility_timeout": STORE_VISIBILITY_SECONDS, **names}
    app = Celery("ovchat-converter", broker=settings.transport_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.stage_slots,
        # Stages run in processes of their own; a thread is enough to wait for them, and leaves the main thread free to
        # answer signals.
        worker_pool="threads",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": keys.CELERY_PREFIX,
            **visibility,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        task_publish_retry_policy={"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 2},
    )
    return app
