"""An OpenTelemetry collector as far as traces need one: takes OTLP/JSON and keeps the spans."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.helpers.services import wait_until


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was sent; times in Unix nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    service: str
    attributes: dict[str, Any]
    error: str
    kind: int

    @property
    def milliseconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e6


class Collector:
    """Listens on a free port of loopback while its context lasts."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.paths: set[tuple[str, str]] = set()
        """Paths and content types of what came."""
        self.status = 200
        self.answers = threading.Event()
        """Cleared, it takes requests and says nothing."""
        self.answers.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.answers.wait()
                collector.paths.add((self.path, self.headers["Content-Type"]))
                if collector.status == 200:
                    collector.spans += parse(body)
                self.send_response(collector.status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so.
                """Say nothing on the test's standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def trace_of(self, generation_id: str) -> list[Span]:
        """Return a generation's span and those below it, by their start, once there are those of every attempt."""
        found: list[Span] = []

        def is_whole() -> bool:
            roots = [span for span in self.spans if span.attributes.get("ovchat.generation_id") == generation_id]
            found[:] = [span for span in self.spans for root in roots if self._belongs(span, root)]
            attempts = roots[0].attributes["ovchat.attempts"] if roots else 0
            return bool(attempts) and sum(span.name == "worker.prefill" for span in found) == attempts

        wait_until(is_whole, what="all spans of a trace")
        return sorted(found, key=lambda span: span.start_ns)

    @staticmethod
    def _belongs(span: Span, root: Span) -> bool:
        return span.trace_id == root.trace_id and root.span_id in (span.span_id, span.parent_id)


def parse(body: bytes) -> list[Span]:
    """Return the spans of an ``ExportTraceServiceRequest`` in JSON."""
    spans = []
    for of_resource in json.loads(body)["resourceSpans"]:
        service = _attributes(of_resource["resource"])["service.name"]
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                spans.append(_span(span, service))  # noqa: PERF401 - three loops in one line are hard to read.
    return spans


def _span(span: dict[str, Any], service: str) -> Span:
    return Span(
        name=span["name"],
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId"),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        service=service,
        attributes=_attributes(span),
        error=span.get("status", {}).get("message", ""),
        kind=span["kind"],
    )


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for attribute in of["attributes"]:
        [(kind, value)] = attribute["value"].items()
        values[attribute["key"]] = int(value) if kind == "intValue" else value
    return values
