"""Where the spans of a generation belong."""

from __future__ import annotations

from shared.schemas.common import Message


class TraceContext(Message):
    """What a request carries where the gateway that took it traces.

    Attributes:
        traceparent: W3C form of the generation's own span, the parent of all others.
        caller_span_id: the client's span that the generation's is a child of, in the same trace, if any.
        began_ns: Unix time at which the gateway was asked.
    """

    traceparent: str
    caller_span_id: str | None = None
    began_ns: int

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent.split("-")[1]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits: the generation's own span."""
        return self.traceparent.split("-")[2]
