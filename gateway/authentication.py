"""Who asks: every route and socket but the probes and the page's static files needs the key."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.exception_handlers import error_response
from gateway.principal import ADMIN_USER, Principal
from shared.errors import InvalidApiKey

#: Paths that need no key. The page itself holds nothing: it asks for the key.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/favicon.ico"})
OPEN_PREFIX = "/static/"
#: Subprotocol that a browser's socket speaks; the key comes as a second one, because a page cannot set headers.
SUBPROTOCOL = "ovchat"
KEY_SUBPROTOCOL_PREFIX = "bearer."


def presented_key(headers: Headers) -> str | None:
    """Return the key of a request: a bearer token, or a socket's ``bearer.<base64url>`` subprotocol."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        name = protocol.strip()
        if name.startswith(KEY_SUBPROTOCOL_PREFIX):
            encoded = name.removeprefix(KEY_SUBPROTOCOL_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


class KeyGuard:
    """ASGI middleware that refuses by default, so that a new route is guarded without being told."""

    def __init__(self, app: ASGIApp, *, admin_key: str) -> None:
        self._app = app
        self._admin_key = admin_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its user, or answer 401."""
        if scope["type"] not in ("http", "websocket") or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        key = presented_key(Headers(scope=scope))
        if key is not None and hmac.compare_digest(key.encode(), self._admin_key):
            scope.setdefault("state", {})["principal"] = Principal(ADMIN_USER, "admin", "first")
            await self._app(scope, receive, send)
            return
        error = InvalidApiKey("This key is not known here." if key else "Send your key as `Authorization: Bearer KEY`.")
        response = error_response(error)
        if scope["type"] == "websocket":
            await receive()
            for message in (
                {
                    "type": "websocket.http.response.start",
                    "status": response.status_code,
                    "headers": response.raw_headers,
                },
                {"type": "websocket.http.response.body", "body": response.body},
            ):
                await send(message)
            return
        await response(scope, receive, send)

    @staticmethod
    def _is_open(scope: Scope) -> bool:
        path: str = scope["path"]
        return scope["type"] == "http" and (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))
