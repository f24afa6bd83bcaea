"""The ``traceparent`` header of W3C's Trace Context."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Traceparent:
    """A span of somebody's, and whether its trace is recorded."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"

    @classmethod
    def parse(cls, text: str) -> Traceparent | None:
        """Return what a header says; None where it says nothing valid, as the standard wants it ignored then."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        # Later versions may go on after the flags; this one may not, and ff is none.
        if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))

    def child(self) -> Traceparent:
        """Return a new span of the same trace."""
        return Traceparent(self.trace_id, new_span_id(), self.is_sampled)

    @classmethod
    def new(cls) -> Traceparent:
        """Return the first span of a new trace."""
        return cls(secrets.token_hex(16), new_span_id())


def new_span_id() -> str:
    """Return 16 random hexadecimal digits, not all of them zero."""
    return f"{secrets.randbelow(2**64 - 1) + 1:016x}"
