"""``X-Request-Id``: the client's, or one of our own, on every answer under ``/v1``."""

from __future__ import annotations

import re
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.ids import new_id

_PREFIX = "/v1/"
_FIT = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


class RequestIds:
    """ASGI middleware that names requests and tells the name in the answer, a refusal's included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its name."""
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        name = asked if _FIT.fullmatch(asked) else new_id("req")
        scope.setdefault("state", {})["request_id"] = name

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        await self._app(scope, receive, send_named)


def request_id(connection: HTTPConnection) -> str:
    """Return the name of a request under ``/v1``."""
    return cast(str, connection.state.request_id)
