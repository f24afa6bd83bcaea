"""Keeping a job's lease alive while a stage runs."""

import redis.exceptions

from converter_worker.job_store import JobStore, StageTicket
from converter_worker.periodic_thread import PeriodicThread
from shared.log import get_logger

log = get_logger(__name__)


def lease_keeper(jobs: JobStore, ticket: StageTicket, lease_seconds: float) -> PeriodicThread:
    """Return what renews the lease beside a stage, so that one that is deep in a library keeps it too."""

    def renew() -> bool:
        try:
            return jobs.renew_lease(ticket)
        except redis.exceptions.RedisError as error:
            # The stage goes on: when Redis comes back in time nothing was lost.
            log.warning("lease_not_renewed", conversion_id=ticket.conversion_id, error=str(error))
            return True

    return PeriodicThread(f"lease-{ticket.conversion_id}", lease_seconds / 4, renew)
