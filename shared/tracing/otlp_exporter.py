"""OTLP in its JSON form over HTTP, so that no protobuf library joins the environment of the conversion libraries."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from shared.log import get_logger

_log = get_logger(__name__)

SEND_SECONDS = 3.0
#: OTLP's numbers, which are one more than the API's.
_KINDS = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2}
_ERROR_STATUS = 2
_SAMPLED_FLAG = 1


class OtlpJsonExporter(SpanExporter):
    """Sends batches to ``<endpoint>/v1/traces``; one that cannot be sent is lost, which is logged once.

    It is called by one thread at a time, the span processor's.
    """

    def __init__(self, endpoint: str) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._lost = 0
        self._deadline: float | None = None

    def hurry(self, seconds: float) -> None:
        """Begin no sending after this time any more; may be called from another thread."""
        self._deadline = time.monotonic() + seconds

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch."""
        left = SEND_SECONDS if self._deadline is None else min(SEND_SECONDS, self._deadline - time.monotonic())
        if left <= 0:
            return self._failed(len(spans), "the process ends")
        body = encode(spans)
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=left) as response:
                response.read()
        except (OSError, http.client.HTTPException) as error:
            return self._failed(len(spans), str(error))
        if self._lost:
            _log.info("traces_sent_again", lost_spans=self._lost)
            self._lost = 0
        return SpanExportResult.SUCCESS

    def _failed(self, count: int, reason: str) -> SpanExportResult:
        if not self._lost:
            _log.warning("traces_not_sent", reason=reason)
        self._lost += count
        return SpanExportResult.FAILURE


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Return the JSON of an ``ExportTraceServiceRequest``; all spans are of one resource and scope."""
    resource = spans[0].resource.attributes
    return orjson.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeSpans": [{"scope": {"name": "ovchat"}, "spans": [_span(span) for span in spans]}],
                }
            ]
        }
    )


def _span(span: ReadableSpan) -> dict[str, object]:
    context: SpanContext = span.get_span_context() or _NO_CONTEXT
    fields: dict[str, object] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": _KINDS[span.kind],
        # 64 bits are texts in protobuf's JSON.
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "flags": _SAMPLED_FLAG,
    }
    if span.parent is not None:
        fields["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.status.status_code is StatusCode.ERROR:
        fields["status"] = {"code": _ERROR_STATUS, "message": span.status.description or ""}
    return fields


def _attributes(attributes: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": str(value)}


_NO_CONTEXT = SpanContext(0, 0, is_remote=False)
