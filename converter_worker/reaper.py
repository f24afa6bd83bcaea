"""Takes up jobs that nobody works on any more: their converter died, or their message was lost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis.exceptions

from converter_worker.job_store import JobStore, JobView, StageTicket
from shared import keys
from shared.log import get_logger
from shared.redis_client import SyncRedis

log = get_logger(__name__)

#: How often jobs are looked at.
PERIOD_SECONDS = 5.0
#: A job that waits without a message in the queue is taken up after this.
LOST_MESSAGE_MS = 30_000
#: A job that was taken up this often fails instead: something in it kills converters.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class JobSigns:
    """What the reaper sees of one unfinished job."""

    is_claimed: bool
    has_lease: bool
    is_queued: bool
    idle_ms: int


def is_abandoned(signs: JobSigns) -> bool:
    """Tell whether nobody will go on with a job.

    A claimed stage without a lease is one whose worker died. A job that is neither claimed nor in the queue has lost
    its message; it gets some time, because a message is on its way for a moment.
    """
    if signs.has_lease:
        return False
    if signs.is_claimed:
        return True
    return not signs.is_queued and signs.idle_ms > LOST_MESSAGE_MS


class Reaper:
    """Looks for abandoned jobs, raises their attempt and sends them again from the start; done stages are kept.

    A job is taken up when two rounds in a row find it abandoned: after a restart of Redis every lease is gone for a
    moment, and its holder only has to renew it.
    """

    def __init__(
        self,
        jobs: JobStore,
        transport: SyncRedis,
        send: Callable[[StageTicket], None],
        give_up: Callable[[StageTicket], None],
    ) -> None:
        self._jobs = jobs
        self._transport = transport
        self._send = send
        self._give_up = give_up
        self._suspects: frozenset[tuple[str, int]] = frozenset()

    def run(self, stopping: threading.Event, after_round: Callable[[], None]) -> None:
        """Look again and again until `stopping` is set; `after_round` is called after each round that reached Redis."""
        while not stopping.wait(PERIOD_SECONDS):
            try:
                self.reap()
                after_round()
            except (redis.exceptions.RedisError, OSError) as error:
                log.warning("reaper_round_failed", error=str(error))

    def reap(self) -> list[str]:
        """Look once; take up the jobs that the last round found abandoned too, and return their ids."""
        views = self._jobs.unfinished()
        waiting = self._waiting_messages() if views else b""
        abandoned = {
            (view.job.conversion_id, view.job.attempt): view
            for view in views
            if is_abandoned(self._signs(view, waiting))
        }
        known, self._suspects = self._suspects, frozenset(abandoned)
        return [view.job.conversion_id for key, view in abandoned.items() if key in known and self._take_up(view)]

    def _signs(self, view: JobView, waiting: bytes) -> JobSigns:
        conversion_id = view.job.conversion_id
        return JobSigns(
            is_claimed=view.is_claimed,
            has_lease=self._jobs.has_lease(conversion_id),
            is_queued=conversion_id.encode() in waiting,
            idle_ms=self._jobs.now_ms() - view.updated_ms,
        )

    def _take_up(self, view: JobView) -> bool:
        conversion_id = view.job.conversion_id
        attempt = self._jobs.raise_attempt(conversion_id, view.job.attempt)
        if attempt is None:
            return False
        ticket = StageTicket(conversion_id, "resolve", attempt)
        if attempt > MAX_ATTEMPTS:
            log.error("conversion_given_up", conversion_id=conversion_id, attempt=attempt)
            self._give_up(ticket)
        else:
            log.warning("conversion_taken_up", conversion_id=conversion_id, attempt=attempt)
            self._send(ticket)
        return True

    def _waiting_messages(self) -> bytes:
        """Return the text of all messages in the queue; a job's id occurs in it when one of them is its own."""
        queue = keys.CELERY_PREFIX + keys.CONVERSION_QUEUE
        return b"\n".join(cast(list[bytes], self._transport.lrange(queue, 0, -1)))
