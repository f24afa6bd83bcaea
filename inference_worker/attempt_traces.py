"""A generation's trace as a worker sees it: the queue that it came from, prefill and decode of one attempt."""

from __future__ import annotations

from collections.abc import Callable

from inference_worker.running_generation import RunningGeneration
from shared.schemas.tracing import TraceContext
from shared.tracing.spans import EndedSpan, Spans

_MS = 1_000_000


class AttemptTraces:
    """Makes the spans ``queue``, ``worker.prefill`` and ``worker.decode``, children of the generation's."""

    def __init__(self, spans: Spans, *, device: str, worker_id: Callable[[], str]) -> None:
        self._spans = spans
        self._device = device
        self._worker_id = worker_id

    def taken(self, generation: RunningGeneration, trace: TraceContext | None) -> None:
        """Record the time in the queue; a later attempt's is the gap before its spans."""
        if trace is not None and self._spans.is_on and generation.attempt == 1:
            taken_ns = generation.taken_ns
            start_ns = taken_ns - round(generation.timings.queue_ms * _MS)
            self._spans.add(EndedSpan("queue", trace.trace_id, trace.span_id, start_ns, taken_ns))

    def left(self, generation: RunningGeneration, trace: TraceContext | None) -> None:
        """Record an attempt that has its end, or that another attempt will follow."""
        if trace is None or not self._spans.is_on:
            return
        attributes: dict[str, str | int] = {
            "ovchat.attempt": generation.attempt,
            "ovchat.device": self._device,
            "ovchat.worker_id": self._worker_id(),
            "gen_ai.usage.input_tokens": generation.prompt_tokens,
        }
        if generation.cached_tokens is not None:
            attributes["ovchat.cached_tokens"] = generation.cached_tokens
        error = "" if generation.ended else "attempt_lost"
        timings = generation.timings
        # The same figures as in `generation.finished`, counted from the moment of queueing.
        queued_ns = generation.taken_ns - round(timings.queue_ms * _MS)
        end_ns = queued_ns + round(timings.total_ms * _MS)
        first_ms = timings.first_token_ms
        first_ns = end_ns if first_ms is None else queued_ns + round(first_ms * _MS)

        ids = (trace.trace_id, trace.span_id)
        prefill_error = error if first_ms is None else ""
        self._spans.add(
            EndedSpan("worker.prefill", *ids, generation.taken_ns, first_ns, attributes, error=prefill_error)
        )
        if first_ms is not None:
            attributes = {**attributes, "gen_ai.usage.output_tokens": len(generation.token_ids)}
            self._spans.add(EndedSpan("worker.decode", *ids, first_ns, end_ns, attributes, error=error))
