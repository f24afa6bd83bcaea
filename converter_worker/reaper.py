"""Takes up jobs that nobody works on any more: their converter died, or their message was lost."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis.exceptions
from kombu.exceptions import OperationalError

from converter_worker.job_store import JobStore, JobView, StageTicket, Superseded
from shared.errors import StageCrashed
from shared.log import get_logger
from shared.schemas.conversion import ConversionEvent

log = get_logger(__name__)

#: Longest time between two looks at the jobs.
LONGEST_PERIOD_SECONDS = 5.0
#: A stage that lost its converter this often fails its job: something in it kills converters.
MAX_STAGE_LOSSES = 4
#: A job that was taken up this often fails, whatever the reasons were.
MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class JobSigns:
    """What the reaper sees of one unfinished job; `has_lease` is true where every claimed stage has its lease."""

    is_claimed: bool
    has_lease: bool
    is_queued: bool
    idle_ms: int


def is_abandoned(signs: JobSigns, lost_message_ms: float) -> bool:
    """Tell whether nobody will go on with a job.

    A claimed stage without a lease is one whose worker died. A job that is neither claimed nor in the queue has lost
    its message; it gets some time, because a message is on its way for a moment.
    """
    if signs.is_claimed:
        return not signs.has_lease
    return not signs.is_queued and signs.idle_ms > lost_message_ms


class Reaper:
    """Looks for abandoned jobs, raises their attempt and sends them again from the start; done stages are kept.

    A job is taken up when two rounds in a row find it abandoned: after a restart of Redis every lease is gone for a
    moment, and its holder only has to renew it, which it does four times while a lease lasts. Where Redis was away for
    longer than a period, the holder gets as long as that, for it may still try to reach the address at which Redis was.
    A job that is to be cancelled while nobody works on it, because it waits behind others or its converter died, is
    ended here. `waiting_messages` returns the text of all messages in the queues; a job's id occurs in it when one of
    them is its own.
    """

    def __init__(
        self,
        jobs: JobStore,
        waiting_messages: Callable[[], bytes],
        *,
        lease_seconds: float,
        send: Callable[[StageTicket], None],
        give_up: Callable[[StageTicket, StageCrashed], None],
        cancel: Callable[[StageTicket], None],
    ) -> None:
        self._jobs = jobs
        self._waiting_messages = waiting_messages
        self._lease_seconds = lease_seconds
        self._period_seconds = min(LONGEST_PERIOD_SECONDS, lease_seconds / 2)
        self._lost_message_ms = 2000 * lease_seconds
        self._send = send
        self._give_up = give_up
        self._cancel = cancel
        self._suspects: frozenset[tuple[object, ...]] = frozenset()
        #: When the present look began, or the first of those that failed before it.
        self._look_began: float | None = None
        self._was_held_up = False
        self._patient_until = 0.0

    def run(self, stopping: threading.Event, after_round: Callable[[], None]) -> None:
        """Look again and again until `stopping` is set, and call `after_round` after each look."""
        while not stopping.wait(self._period_seconds):
            # One by one: whatever breaks the one, this converter lives, and says so in the other.
            for step in (self.reap, after_round):
                try:
                    step()
                except (redis.exceptions.RedisError, OperationalError, OSError) as error:
                    log.warning("reaper_round_failed", error=str(error))
                except Exception:
                    log.exception("reaper_round_broke")

    def reap(self) -> list[str]:
        """Look once; take up the jobs that the last round found abandoned too, and return their ids."""
        began = self._look_began = self._look_began or time.monotonic()
        views = self._jobs.unfinished()
        waiting = self._waiting_messages() if views else b""
        abandoned: dict[tuple[object, ...], JobView] = {}
        for view in views:
            signs = self._signs(view, waiting)
            if not (signs.is_claimed and signs.has_lease) and self._jobs.is_cancel_asked(view.job.conversion_id):
                self._cancel(StageTicket(view.job.conversion_id, view.job.stage or "resolve", view.job.attempt))
            elif is_abandoned(signs, self._lost_message_ms):
                abandoned[view.job.conversion_id, view.job.attempt, view.open_claims] = view
        self._look_began = None
        if self._is_patient(time.monotonic() - began):
            abandoned = {}
        known, self._suspects = self._suspects, frozenset(abandoned)
        return [view.job.conversion_id for key, view in abandoned.items() if key in known and self._take_up(view)]

    def _is_patient(self, look_seconds: float) -> bool:
        """Tell whether a missing lease proves nothing yet, because its holder may not have been able to renew it."""
        now = time.monotonic()
        is_held_up = look_seconds > self._period_seconds
        # Not after each of them where every look takes long: nothing would ever be taken up.
        if is_held_up and not self._was_held_up:
            self._patient_until = now + self._lease_seconds
        self._was_held_up = is_held_up
        return now < self._patient_until

    def _signs(self, view: JobView, waiting: bytes) -> JobSigns:
        return JobSigns(
            is_claimed=bool(view.open_claims),
            has_lease=self._jobs.has_leases(view),
            is_queued=view.job.conversion_id.encode() in waiting,
            idle_ms=self._jobs.now_ms() - view.updated_ms,
        )

    def _take_up(self, view: JobView) -> bool:
        conversion_id = view.job.conversion_id
        taken = self._jobs.raise_attempt(view)
        if taken is None:
            return False
        attempt, losses = taken
        ticket = StageTicket(conversion_id, "resolve", attempt)
        if losses >= MAX_STAGE_LOSSES or attempt > MAX_ATTEMPTS:
            log.error("conversion_given_up", conversion_id=conversion_id, attempt=attempt, losses=losses)
            times = f"in the same stage {losses} times" if losses >= MAX_STAGE_LOSSES else f"{attempt - 1} times"
            error = StageCrashed(
                f"The conversion lost its converter {times}. Look into the converters' logs for what ended them "
                "(mostly too little memory), then convert again."
            )
            self._give_up(ticket, error)
        else:
            log.warning("conversion_taken_up", conversion_id=conversion_id, attempt=attempt, losses=losses)
            self._tell(view, ticket)
            self._send(ticket)
        return True

    def _tell(self, view: JobView, ticket: StageTicket) -> None:
        """Say to whoever follows a job why it begins anew."""
        lost = "converter" if view.open_claims else "message"
        event = ConversionEvent(
            conversion_id=ticket.conversion_id,
            state=view.job.state,
            stage=ticket.stage,
            progress=view.job.progress,
            message=f"taken up again after its {lost} was lost; what was done is kept",
        )
        with contextlib.suppress(Superseded):
            self._jobs.write(ticket, {}, event)
