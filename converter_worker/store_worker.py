"""Serves the store's queue beside the stages: a deletion does not wait for a conversion that takes hours."""

import contextvars
import threading

from celery import Celery
from celery.worker import WorkController


def serve_beside(app: Celery, name: str) -> None:
    """Serve the application's queue in a thread that ends with the process.

    What it is at work on when the process ends goes back into the queue, and is done again without harm.
    """
    app.conf.update(
        worker_enable_remote_control=False,
        # Without a loop of its own: Celery's is one for the process, and the stages' worker has it.
        worker_pool="solo",
    )

    def serve() -> None:
        worker = WorkController(
            app=app,
            hostname=name,
            pool="solo",
            concurrency=1,
            use_eventloop=False,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()

    # With what the log says of this process.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(serve,), name="store", daemon=True).start()
