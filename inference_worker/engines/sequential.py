"""What engines have in common whose library owns the loop: one sequence after the other, computed in a thread."""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inference_worker.engine import (
    Engine,
    EngineInfo,
    EngineSpec,
    Finish,
    ProgressCallback,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
)
from inference_worker.variant_files import read_model_limits

#: Takes new tokens and their log probabilities; False asks to end at once.
Emit = Callable[[Sequence[int], Sequence[TokenLogprob]], bool]


@dataclass(slots=True, eq=False)
class Job:
    """One sequence; `params.max_new_tokens` is bounded by the room in the context. `ends` are all its end tokens."""

    sequence_id: str
    token_ids: tuple[int, ...]
    params: SamplingParams
    ends: frozenset[int]
    plan: Any = None
    """What the engine's library is told, made before the sequence is taken."""
    aborted: bool = False
    last_token_id: int | None = None


class SequentialEngine(Engine):
    """Subclasses load, and compute one sequence; here is the queue before them and the events behind them.

    The thread is the only one that touches the library after `start`. An aborted sequence that is being computed ends
    at its next token, and nothing of it is delivered.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[tuple[Job, TokenEvent] | Exception] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._info: EngineInfo | None = None
        self._short_rope_tokens: int | None = None

    @abstractmethod
    def _load(self) -> EngineInfo:
        """Load the model; `slots` of the result is 1."""

    @abstractmethod
    def _plan(self, job: Job) -> Any:
        """Make the job's plan. Raises ValueError or RuntimeError for parameters that the library refuses."""

    @abstractmethod
    def _compute(self, job: Job, emit: Emit) -> None:
        """Generate to the end, or until `emit` says False. Raises MemoryError when memory ran out."""

    @abstractmethod
    def _free(self) -> None:
        """Give the model back; idempotent."""

    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        report = report_progress or (lambda _progress: None)
        report(0.05)
        info = self._load()
        self._short_rope_tokens = read_model_limits(self._spec.model_dir).short_rope_tokens
        report(0.9)
        warm_up = Job("", (0,), SamplingParams(max_new_tokens=2, ignore_eos=True), frozenset())
        warm_up.plan = self._plan(warm_up)
        self._compute(warm_up, lambda _token_ids, _logprobs: True)
        self._info = info
        self._thread = threading.Thread(target=self._work, name="sequences", daemon=True)
        self._thread.start()
        report(1.0)
        return info

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        info = self._info
        if info is None:
            raise RuntimeError("the engine is not started")
        if sequence_id in self._jobs:
            raise ValueError(f"sequence {sequence_id} is running")
        if not token_ids:
            raise ValueError("the prompt is empty")
        room = info.context_length - len(token_ids)
        if room < 1:
            raise ValueError(f"the prompt of {len(token_ids)} tokens leaves no room in {info.context_length}")
        short = self._short_rope_tokens
        if short is not None and len(token_ids) < short:
            # Beyond it the model has other positions than the cached part of this text was computed with.
            room = min(room, short - len(token_ids))
        bounded = replace(params, max_new_tokens=min(params.max_new_tokens, room))
        ends = frozenset(params.stop_token_ids) | frozenset(() if params.ignore_eos else info.eos_token_ids)
        job = Job(sequence_id, tuple(token_ids), bounded, ends)
        job.plan = self._plan(job)
        self._jobs[sequence_id] = job
        self._waiting.put(job)

    def abort(self, sequence_id: str) -> None:
        job = self._jobs.pop(sequence_id, None)
        if job is not None:
            job.aborted = True

    def next_events(self, timeout: float) -> list[TokenEvent]:
        events: list[TokenEvent] = []
        while self._jobs:
            try:
                made = self._made.get(block=not events and timeout > 0, timeout=timeout)
            except queue.Empty:
                break
            if isinstance(made, Exception):
                raise made
            job, event = made
            if self._jobs.get(event.sequence_id) is not job:
                continue
            if event.finish is not None:
                del self._jobs[event.sequence_id]
            events.append(event)
        return events

    def stop(self) -> None:
        for sequence_id in list(self._jobs):
            self.abort(sequence_id)
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join()
        self._free()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if job.aborted:
                continue
            try:
                finish = self._finish(job)
            except Exception as error:  # noqa: BLE001 - it is raised again where the engine's host can see it.
                self._made.put(error)
                return
            self._made.put((job, TokenEvent(job.sequence_id, (), finish)))

    def _finish(self, job: Job) -> Finish:
        def emit(token_ids: Sequence[int], logprobs: Sequence[TokenLogprob]) -> bool:
            if token_ids and not job.aborted:
                job.last_token_id = token_ids[-1]
                self._made.put((job, TokenEvent(job.sequence_id, tuple(token_ids), None, tuple(logprobs))))
            return not job.aborted

        try:
            self._compute(job, emit)
        except MemoryError:
            return Finish.KV_CACHE_EXHAUSTED
        return Finish.STOP if job.last_token_id in job.ends else Finish.LENGTH
