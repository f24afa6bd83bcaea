"""One request of a load, as the client saw it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import QuotaExceeded, RateLimited, Unavailable, error_types
from shared.schemas.generation import Timings

CONNECTION_LOST = "connection_lost"
SEQUENCE_BROKEN = "sequence_broken"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no whole answer.

    Attributes:
        code: the platform's error code, or one of this module's.
        refused: whether the gateway said no before it took the request; else an answer that was on its way broke off.
        status: the HTTP status; on a socket 429 and 503 by the code's meaning, None for others.
        retry_after_seconds: what the gateway asked for.
    """

    code: str
    message: str
    refused: bool
    status: int | None = None
    retry_after_seconds: float | None = None


@dataclass(slots=True)
class Sample:
    """A request; all moments are in seconds of :func:`time.perf_counter`.

    Attributes:
        intended_at: when the load wanted it sent. Every latency counts from here, so that a client or a gateway that
            holds the next request up does not hide the wait.
        sent_at: when it was sent; None where it never was.
        deltas_at: when each piece of the answer came.
        ended_at: when the end or the refusal came; None while it is open.
        timings: the gateway's own times; over OpenAI's interface there are none.
    """

    intended_at: float
    sent_at: float | None = None
    deltas_at: list[float] = field(default_factory=list)
    ended_at: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int = 0
    timings: Timings | None = None
    failure: Failure | None = None

    @property
    def finished(self) -> bool:
        """Whether the whole answer came."""
        return self.ended_at is not None and self.failure is None

    def fail(self, failure: Failure, at: float) -> None:
        """End it badly; what has ended already stays as it is."""
        if self.ended_at is None:
            self.failure, self.ended_at = failure, at


def status_of(code: str) -> int | None:
    """Return 429 or 503 for the codes that ask to come back later, else None."""
    kind = error_types().get(code)
    if kind is None:
        return None
    if issubclass(kind, RateLimited | QuotaExceeded):
        return 429
    return 503 if issubclass(kind, Unavailable) else None
