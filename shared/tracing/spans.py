"""Ended spans, and where they go: to a collector, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.settings import CommonSettings
from shared.tracing.traceparent import new_span_id

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class EndedSpan:
    """A stretch of a generation's time. It holds no text of a chat, no key and no user's name.

    Attributes:
        error: code of what it ended with; empty where it ended well.
        kind: ``server`` for the one that answers a client.
    """

    name: str
    trace_id: str
    parent_span_id: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes = field(default_factory=dict)
    error: str = ""
    kind: Literal["internal", "server"] = "internal"
    span_id: str = field(default_factory=new_span_id)


class Spans:
    """Takes spans and forgets them: what a service has where no collector is set."""

    #: Whether anybody wants spans, so that none are made for nobody.
    is_on = False

    def add(self, span: EndedSpan) -> None:
        """Take a span; returns at once, whatever the collector does."""

    async def close(self) -> None:
        """Send what is left, within a few seconds."""


def open_spans(settings: CommonSettings, service: str, instance: str) -> Spans:
    """Return where a service's spans go. OpenTelemetry is imported only where a collector is set.

    Args:
        settings: name the collector.
        service: name of the service among all that the collector hears of.
        instance: which process of that service it is.
    """
    if not settings.otlp_endpoint:
        return Spans()
    from shared.tracing.batched_spans import BatchedSpans
    from shared.tracing.otlp_exporter import OtlpJsonExporter

    resource = {"service.namespace": "ovchat", "service.name": f"ovchat-{service}", "service.instance.id": instance}
    return BatchedSpans(OtlpJsonExporter(settings.otlp_endpoint), resource)
