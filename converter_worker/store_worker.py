"""Serves the store's queue beside the stages: a deletion does not wait for a conversion that takes hours."""

import contextvars
import threading

from celery import Celery
from celery.worker import WorkController

from shared.log import get_logger

log = get_logger(__name__)

#: How long to wait before a worker that ended by itself is replaced.
_RESTART_SECONDS = 5.0


def serve_beside(app: Celery, name: str, stopping: threading.Event) -> None:
    """Serve the application's queue until the process ends, in a thread that ends with it.

    What it is at work on then comes again after `STORE_VISIBILITY_SECONDS`, and is done again without harm.
    """
    app.conf.update(worker_enable_remote_control=False, worker_pool="solo")

    def serve() -> None:
        while not stopping.is_set():
            WorkController(
                app=app,
                hostname=name,
                pool="solo",
                concurrency=1,
                # There is one event loop of Celery's in a process, and the stages' worker has it.
                use_eventloop=False,
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            ).start()
            if not stopping.wait(_RESTART_SECONDS):
                log.error("store_worker_ended", name=name)

    # With what the log says of this process.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(serve,), name="store", daemon=True).start()
