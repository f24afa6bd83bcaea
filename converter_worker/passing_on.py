"""A stage that this converter has not the memory for: to one that has it, and where there is none, waiting for one."""

import queue
from typing import Protocol

from converter_worker.converter_registry import ConverterRegistry
from converter_worker.job_store import JobStore, JobView, StageTicket, Superseded
from converter_worker.memory_gate import MemoryGate
from converter_worker.placement import place
from converter_worker.prediction import ticket_bytes
from converter_worker.progress import ProgressReporter
from converter_worker.size_text import gigabytes
from shared.errors import OutOfMemory
from shared.log import get_logger
from shared.schemas.conversion import ENDED

log = get_logger(__name__)


class SendTicket(Protocol):
    """Puts a ticket into the common queue, or into that of one converter."""

    def __call__(self, ticket: StageTicket, worker_id: str | None) -> None: ...


class PassingOn:
    """Decides for each delivery of a stage whether it is done here; safe for several threads.

    A stage for which no converter is large enough any more waits `patience_seconds` for one: it may only be starting
    again. Meanwhile its ticket is kept here and sent to all again by `look_again`, so that it takes nobody's slot.
    """

    def __init__(
        self,
        jobs: JobStore,
        memory: MemoryGate,
        registry: ConverterRegistry,
        send: SendTicket,
        patience_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._memory = memory
        self._registry = registry
        self._send = send
        self._patience_seconds = patience_seconds
        self._waiting: queue.SimpleQueue[StageTicket] = queue.SimpleQueue()

    def is_elsewhere(self, ticket: StageTicket, *, passed_on: bool) -> bool:
        """Pass a stage on, or let it wait, where it cannot be done here; tell whether that was done.

        `passed_on` says that another converter has chosen this one.

        Raises:
            OutOfMemory: it has waited in vain for a converter that is large enough.
        """
        view = self._jobs.find(ticket.conversion_id)
        if view is None or view.job.predicted is None or view.job.attempt != ticket.attempt or view.job.state in ENDED:
            return False
        if ticket.claim_field in view.claims:
            # Delivered once more, and done or at work elsewhere: it is dropped here.
            return False
        needed = ticket_bytes(view.job.predicted, ticket.stage, ticket.variant)
        chosen = place(needed, self._registry.present(), self._registry.others(), passed_on=passed_on)
        try:
            if chosen is None:
                self._wait(view, ticket, needed)
                return True
            if view.notes.get(_since(ticket)) is not None:
                self._jobs.write(ticket, {f"note:{_since(ticket)}": None})
            if chosen == "here":
                return False
            memory = gigabytes(chosen.memory_bytes)
            ProgressReporter(self._jobs, ticket).wait(
                f"passed on to the converter on {chosen.host}, which has {memory} of memory"
            )
        except Superseded:
            return False
        self._send(ticket, chosen.worker_id)
        log.info("stage_passed_on", to=chosen.worker_id, needed_bytes=needed)
        return True

    def look_again(self) -> None:
        """Send what waits to all again; called every few seconds, and at the end."""
        for _ in range(self._waiting.qsize()):
            self._send(self._waiting.get(), None)

    def _wait(self, view: JobView, ticket: StageTicket, needed: int) -> None:
        now, since = self._jobs.now_ms(), view.notes.get(_since(ticket))
        memory, minutes = gigabytes(needed), f"{self._patience_seconds / 60:.0f} minutes"
        if not isinstance(since, int):
            since = now
            log.warning("larger_converter_gone", needed_bytes=needed)
            ProgressReporter(self._jobs, ticket).wait(
                f"waiting for a converter with {memory} of memory: the one that had as much is gone. "
                f"Start it again; without one the job fails after {minutes}."
            )
        if now - since > 1000 * self._patience_seconds:
            raise OutOfMemory(
                f"The {ticket.stage} stage needs about {memory} of memory; the converter that had as much is gone and "
                f"did not come back for {minutes}. Start it, or another that is as large, then convert again."
            )
        # Also a sign of life: a job that waits has not lost its message.
        self._jobs.write(ticket, {f"note:{_since(ticket)}": since})
        self._waiting.put(ticket)


def _since(ticket: StageTicket) -> str:
    """Return the name of the note that says since when a stage waits for a larger converter."""
    return f"no_larger_since:{ticket.stage}:{ticket.variant or ''}"
