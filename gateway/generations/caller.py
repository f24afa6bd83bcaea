"""Who asked when, as far as a trace is concerned: kept beside the request's task, not handed through every call."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, replace

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.tracing.traceparent import Traceparent

_PREFIX = "/v1/"


@dataclass(frozen=True, slots=True)
class Caller:
    """The client's span where it named one, and the Unix time at which it asked."""

    span: Traceparent | None
    began_ns: int


_CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


def caller() -> Caller:
    """Return who asks in this task."""
    return _CALLER.get() or Caller(None, time.time_ns())


def asks_now() -> None:
    """Note that the client of this task's socket asks something."""
    _CALLER.set(replace(caller(), began_ns=time.time_ns()))


class Callers:
    """ASGI middleware that reads ``traceparent`` of a request under ``/v1`` and of a socket's handshake."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the caller and pass the request on."""
        if scope["type"] == "websocket" or (scope["type"] == "http" and scope["path"].startswith(_PREFIX)):
            span = Traceparent.parse(Headers(scope=scope).get("traceparent", ""))
            _CALLER.set(Caller(span, time.time_ns()))
        await self._app(scope, receive, send)
