"""Runs assigned generations: prompt, engine, journal, end. One object for all replicas of the worker."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass

from structlog.contextvars import bind_contextvars

from inference_worker.attempt_traces import AttemptTraces
from inference_worker.journal_writer import JournalWriter
from inference_worker.loaded_replica import LoadedReplica, Serving
from inference_worker.metrics import WorkerMetrics
from inference_worker.redis_patience import until_answered
from inference_worker.replica_pool import ReplicaPool
from inference_worker.replica_protocol import StepDone
from inference_worker.running_generation import RunningGeneration
from inference_worker.sampling import check_request, sampling_of
from inference_worker.slot_keeper import SlotKeeper
from inference_worker.text.template_renderer import TemplateRenderer
from shared.affinity import PrefixAffinity
from shared.errors import InternalError, PlatformError, WorkerLost
from shared.journal import Attempt, Journal, NewEntry
from shared.log import get_logger
from shared.schemas.generation import GenerationRequest, GenerationStarted
from shared.schemas.tracing import TraceContext
from shared.schemas.workers import Generate
from shared.waiting_queue import MoveCause, WaitingQueue

_log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Active:
    generation: RunningGeneration
    replica: LoadedReplica
    serving: Serving
    preparing: asyncio.Task[object] | None = None
    last_token_at: float | None = None
    is_cancelled: bool = False
    """Whether it ends as soon as it is known how far an earlier attempt came."""
    sent_tokens: int = 0
    """What the engine was given: the prompt, and what an earlier attempt had made."""
    trace: TraceContext | None = None

    @property
    def sequence_id(self) -> str:
        """The engine's name of it; tokens under way of an older attempt are not taken for this one's."""
        return f"{self.generation.id}:{self.generation.attempt}"


class GenerationRunner:
    """Every generation that has a slot here is in `_active`; whoever takes it out gives the slot back."""

    def __init__(
        self,
        *,
        pool: ReplicaPool,
        queue: WaitingQueue,
        journal: Journal,
        writer: JournalWriter,
        slots: SlotKeeper,
        affinity: PrefixAffinity,
        renderer: TemplateRenderer,
        device: str,
        worker_id: Callable[[], str],
        metrics: WorkerMetrics,
        traces: AttemptTraces,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._journal = journal
        self._writer = writer
        self._slots = slots
        self._affinity = affinity
        self._renderer = renderer
        self._device = device
        self._worker_id = worker_id
        self._metrics = metrics
        self._traces = traces
        self.generated_tokens = 0
        self._active: dict[str, _Active] = {}
        self._sequences: dict[str, _Active] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def generate(self, assignment: Generate) -> None:
        """Begin a generation; returns at once."""
        known = self._active.get(assignment.generation_id)
        if known is not None:
            if known.generation.attempt >= assignment.attempt:
                return
            self._drop(known)
            self._leave(known)
        replica = self._pool.find_ready(assignment.variant)
        if replica is None or replica.serving is None:
            # It was assigned in the moment in which the replica went away.
            self._spawn(self._give_back([RunningGeneration(assignment)], "not_ready"))
            return
        active = _Active(RunningGeneration(assignment), replica, replica.serving)
        self._active[active.generation.id] = active
        self._sequences[active.sequence_id] = active
        replica.assigned.add(active.generation.id)
        self._idle.clear()
        active.preparing = self._spawn(self._prepare(active))

    def cancel(self, generation_id: str) -> None:
        """End a generation because the client asked for it, whatever it is doing; one that ended is left alone."""
        active = self._active.get(generation_id)
        if active is None:
            return
        if active.preparing is not None and active.generation.attempt > 1:
            # The end names the last delta and counts the tokens, which the journal still has to tell.
            active.is_cancelled = True
            return
        self._writer.add([active.generation.cancelled()])
        self._drop(active)

    def on_step(self, step: StepDone) -> None:
        """Journal what an engine's step made."""
        entries: list[NewEntry] = []
        ended: list[_Active] = []
        self.generated_tokens += sum(len(event.token_ids) for event in step.events)
        now = time.monotonic()
        for event in step.events:
            active = self._sequences.get(event.sequence_id)
            if active is None:
                continue
            if event.token_ids:
                if active.last_token_at is not None:
                    self._metrics.token_followed(active.generation.variant, now - active.last_token_at)
                active.last_token_at = now
            if event.cached_tokens is not None:
                self._metrics.prompt_looked_up(active.generation.variant, active.sent_tokens, event.cached_tokens)
            advance = active.generation.advance(event)
            entries.extend(advance.entries)
            if advance.ended:
                ended.append(active)
                _log.info(
                    "generation_computed",
                    generation_id=active.generation.id,
                    tokens=len(active.generation.token_ids),
                    finish=event.finish,
                )
                if event.finish is not None:
                    active.replica.computing.discard(active.sequence_id)
        self._writer.add(entries)
        for active in ended:
            self._drop(active)

    def on_refused(self, attempts: Iterable[Attempt]) -> None:
        """Others follow these attempts, or they were ended from outside: stop them without a word.

        The attempt that follows may run here, too, and goes on.
        """
        for generation_id, number in attempts:
            active = self._active.get(generation_id)
            if active is not None and active.generation.attempt == number:
                _log.info("generation_taken_away", generation_id=generation_id)
                self._drop(active)

    async def on_replica_gone(self, replica: LoadedReplica) -> bool:
        """Let the generations of a dead replica wait again; returns whether there were any that will."""
        lost = [active for active in self._active.values() if active.replica is replica]
        replica.computing.clear()
        for active in lost:
            self._drop(active)
        # What was generated is journaled first, so that the next attempt goes on from there.
        await self._writer.flushed()
        return await self._give_back(
            [active.generation for active in lost if not active.generation.ended], "replica_lost"
        )

    def drop_all(self) -> None:
        """Stop everything without journaling an end: somebody else has it, or will."""
        for active in list(self._active.values()):
            self._drop(active)
            self._leave(active)

    @property
    def generation_ids(self) -> frozenset[str]:
        """What has a slot here."""
        return frozenset(self._active)

    async def until_idle(self) -> None:
        """Return once nothing has a slot."""
        await self._idle.wait()

    async def stop(self) -> None:
        """End the tasks that are under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prepare(self, active: _Active) -> None:
        # The task is this generation's own.
        bind_contextvars(generation_id=active.generation.id)
        try:
            await self._begin(active)
        except PlatformError as error:
            _log.info("generation_failed", code=error.code)
            self._fail(active, error)
        except Exception:  # noqa: BLE001 - one generation's surprise must not end the others.
            _log.exception("generation_broken")
            self._fail(active, InternalError("The worker could not begin the generation; its log has more."))

    async def _begin(self, active: _Active) -> None:
        generation, serving = active.generation, active.serving
        request = await until_answered("request", lambda: self._queue.request(generation.id))
        if request is None:
            _log.warning("generation_expired")
            self._drop(active)
            return
        active.trace = request.trace
        self._traces.taken(generation, request.trace)
        check_request(request, serving.engine)
        history = (
            await until_answered("journal", lambda: self._journal.read(generation.id)) if generation.attempt > 1 else ()
        )
        prompt = await serving.text.fit(self._renderer, request, context_length=serving.engine.context_length)
        text = serving.text.stream(
            request, end_token_ids=serving.engine.eos_token_ids, prompt_token_ids=prompt.token_ids
        )
        self._spawn(until_answered("affinity", lambda: self._affinity.remember(request, self._worker_id())))
        prompt_tokens = len(prompt.token_ids)
        if any(entry.kind == "started" for entry in history):
            if request.options.json_schema is not None:
                raise WorkerLost("The worker was lost, and an answer that follows a schema cannot be continued.")
            first = generation.resumed(
                history,
                text,
                prompt_tokens=prompt_tokens,
                worker_id=self._worker_id(),
                scored=request.options.top_logprobs is not None,
            )
        else:
            frame = self._started_frame(request, prompt_tokens, prompt.dropped_turns)
            first = generation.started(frame, text)
        self._writer.add([first])
        if active.is_cancelled:
            self._writer.add([generation.cancelled()])
            self._drop(active)
            return
        active.replica.prompt_tokens += prompt_tokens
        ends = frozenset(request.options.stop_token_ids)
        if not request.options.ignore_eos:
            ends |= frozenset(serving.engine.eos_token_ids)
        end = generation.end_of_replay(end_token_ids=ends, max_new_tokens=prompt.max_new_tokens)
        if end is not None:
            self._writer.add(end.entries)
            self._drop(active)
            return
        emitted = tuple(generation.token_ids)
        params = sampling_of(request, max_new_tokens=prompt.max_new_tokens, emitted_tokens=len(emitted))
        active.preparing = None
        if not active.replica.computing:
            active.replica.heard(StepDone((), ()))
        active.replica.computing.add(active.sequence_id)
        active.sent_tokens = prompt_tokens + len(emitted)
        _log.info(
            "generation_begun",
            variant=generation.variant,
            attempt=generation.attempt,
            prompt_tokens=prompt_tokens,
            replayed_tokens=len(emitted),
        )
        serving.process.add(active.sequence_id, prompt.token_ids + emitted, params)

    def _started_frame(self, request: GenerationRequest, prompt_tokens: int, dropped_turns: int) -> GenerationStarted:
        return GenerationStarted(
            generation_id=request.generation_id,
            model=request.model,
            variant=request.variant,
            device=self._device,
            worker_id=self._worker_id(),
            prompt_tokens=prompt_tokens,
            dropped_turns=dropped_turns,
        )

    def _fail(self, active: _Active, error: PlatformError) -> None:
        if self._active.get(active.generation.id) is active:
            self._writer.add([active.generation.failed(error)])
            self._drop(active)

    def _drop(self, active: _Active) -> None:
        """Forget a generation, end it in the engine if it is there, and give its slot back."""
        generation, replica = active.generation, active.replica
        if self._active.pop(generation.id, None) is None:
            return
        self._sequences.pop(active.sequence_id, None)
        self._traces.left(generation, active.trace)
        if active.preparing is not None and active.preparing is not asyncio.current_task():
            active.preparing.cancel()
        if active.sequence_id in replica.computing:
            replica.computing.discard(active.sequence_id)
            active.serving.process.abort(active.sequence_id)
        replica.assigned.discard(generation.id)
        self._slots.release(generation.variant)
        if not replica.assigned:
            self._pool.became_idle(replica)
        if not self._active:
            self._idle.set()

    def _leave(self, active: _Active) -> None:
        if not active.generation.ended:
            self._writer.leave(active.generation.id, active.generation.attempt)

    async def _give_back(self, generations: list[RunningGeneration], cause: MoveCause) -> bool:
        waits_again = False
        for generation in generations:
            again = functools.partial(self._queue.requeue, self._worker_id(), generation.id, generation.attempt, cause)
            attempt = await until_answered("requeue", again)
            waits_again = waits_again or attempt > 0
            _log.info("generation_given_back", generation_id=generation.id, attempt=attempt, cause=cause)
            if attempt < 0:
                error = WorkerLost("The engine died too often under this generation.")
                self._writer.add([generation.failed(error)])
            else:
                self._writer.leave(generation.id, generation.attempt)
        return waits_again

    def _spawn(self, work: Coroutine[None, None, object]) -> asyncio.Task[object]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
