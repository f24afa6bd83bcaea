"""Keeping a job's lease alive while a stage runs."""

import threading
from types import TracebackType

import redis.exceptions

from converter_worker.job_store import JobStore, StageTicket
from shared.log import get_logger

log = get_logger(__name__)


class LeaseKeeper:
    """Renews the lease from a thread of its own, so that a stage that is deep in a library keeps it too."""

    def __init__(self, jobs: JobStore, ticket: StageTicket, lease_seconds: float) -> None:
        self._jobs = jobs
        self._ticket = ticket
        self._pause_seconds = lease_seconds / 4
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{ticket.conversion_id}", daemon=True)

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stopped.wait(self._pause_seconds):
            try:
                if not self._jobs.renew_lease(self._ticket):
                    return
            except redis.exceptions.RedisError as error:
                # The stage goes on: when Redis comes back in time nothing was lost.
                log.warning("lease_not_renewed", conversion_id=self._ticket.conversion_id, error=str(error))
