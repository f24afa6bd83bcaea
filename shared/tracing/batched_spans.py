"""Spans by way of OpenTelemetry's own batches: a bounded queue and a thread that sends."""

from __future__ import annotations

import asyncio

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.tracing.otlp_exporter import OtlpJsonExporter
from shared.tracing.spans import Attributes, EndedSpan, Spans

#: Spans that wait at most; the oldest are lost when more come.
QUEUED_SPANS = 2048
SPANS_A_BATCH = 512
#: A killed process loses the spans of this time.
DELAY_SECONDS = 1.0
#: Seconds that are given to a last batch; what the collector has not taken then is lost.
CLOSE_SECONDS = 2.0
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER}


class BatchedSpans(Spans):
    """Hands spans to a thread that sends them.

    A generation's spans begin and end in several processes, so they are made here when all is known of them: the SDK's
    tracers, which keep a span open inside one process, have nothing to do, nor is a global provider set.
    """

    is_on = True

    def __init__(self, exporter: OtlpJsonExporter, resource: Attributes) -> None:
        self._exporter = exporter
        self._resource = Resource(resource)
        self._scope = InstrumentationScope("ovchat")
        # All four are given, because the environment's OTEL_ names would count else.
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUED_SPANS,
            schedule_delay_millis=DELAY_SECONDS * 1000,
            max_export_batch_size=SPANS_A_BATCH,
            export_timeout_millis=CLOSE_SECONDS * 1000,
        )

    def add(self, span: EndedSpan) -> None:
        """Queue a span."""
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=_context(span.trace_id, span.span_id),
                parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
                resource=self._resource,
                attributes=span.attributes,
                kind=_KINDS[span.kind],
                instrumentation_scope=self._scope,
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
                start_time=span.start_ns,
                # Clocks of several machines are compared here.
                end_time=max(span.start_ns, span.end_ns),
            )
        )

    async def close(self) -> None:
        """Send what is left, within a few seconds."""
        self._exporter.hurry(CLOSE_SECONDS)
        await asyncio.to_thread(self._processor.shutdown)


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
