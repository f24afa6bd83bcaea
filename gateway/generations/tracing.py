"""A generation's trace as gateways see it: its beginning in one, its end in the same or another one."""

from __future__ import annotations

import hashlib
import time

from gateway.generations.caller import caller
from shared.schemas.generation import GenerationFailed, GenerationFinished, GenerationRequest
from shared.schemas.tracing import TraceContext
from shared.tracing.spans import EndedSpan, Spans
from shared.tracing.traceparent import Traceparent


class GenerationTraces:
    """Makes the spans ``gateway.admit``, ``gateway.finalize`` and ``generation``, the parent of all others."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def begun(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with a trace: the client's where it named one; none where that is not recorded."""
        if not self._spans.is_on:
            return request
        who = caller()
        if who.span is not None and not who.span.is_sampled:
            return request
        own = Traceparent.new() if who.span is None else who.span.child()
        trace = TraceContext(
            traceparent=str(own), caller_span_id=who.span.span_id if who.span else None, began_ns=who.began_ns
        )
        return request.model_copy(update={"trace": trace})

    def admitted(self, request: GenerationRequest, position: int) -> None:
        """Record what came before the queue."""
        if request.trace is not None:
            attributes = {"ovchat.queue.position": position}
            self._add(request.trace, "gateway.admit", request.trace.began_ns, attributes)

    def stored(
        self,
        request: GenerationRequest,
        end: GenerationFinished | GenerationFailed,
        *,
        prompt_tokens: int,
        generated_tokens: int,
        attempts: int,
        since_ns: int,
    ) -> None:
        """Record the end, which this gateway has stored since a Unix time, and with it the whole generation."""
        trace = request.trace
        if trace is None or not self._spans.is_on:
            return
        self._add(trace, "gateway.finalize", since_ns, {})
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "chat" if request.messages else "text_completion",
            "gen_ai.request.model": request.model,
            "gen_ai.usage.input_tokens": prompt_tokens,
            "gen_ai.usage.output_tokens": generated_tokens,
            "ovchat.variant": request.variant,
            "ovchat.generation_id": request.generation_id,
            "ovchat.request_id": request.request_id,
            "ovchat.attempts": attempts,
            "user.hash": hashlib.sha256(request.user.encode()).hexdigest()[:16],
        }
        error = ""
        if isinstance(end, GenerationFinished):
            attributes["ovchat.finish_reason"] = end.finish_reason
        else:
            error = attributes["error.type"] = end.error.code
        self._spans.add(
            EndedSpan(
                "generation",
                trace.trace_id,
                trace.caller_span_id,
                trace.began_ns,
                time.time_ns(),
                attributes,
                error=error,
                kind="server",
                span_id=trace.span_id,
            )
        )

    def _add(self, trace: TraceContext, name: str, start_ns: int, attributes: dict[str, int]) -> None:
        self._spans.add(EndedSpan(name, trace.trace_id, trace.span_id, start_ns, time.time_ns(), attributes))
