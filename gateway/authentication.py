"""Who asks: every route and socket but the probes, the page's static files and the sign-in needs a key or a session."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Callable

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.exception_handlers import error_response, redis_error
from gateway.origins import comes_from_elsewhere, is_loopback, names_loopback
from gateway.principal import ADMIN_USER, Principal, Standing
from gateway.users.authenticator import Authenticator, Credential
from gateway.users.credential_watch import CredentialWatch
from shared.errors import InvalidApiKey, InvalidRequest, PermissionDenied, PlatformError
from shared.redis_client import AWAY
from shared.settings import GatewaySettings

#: Paths that need no key. The page itself holds nothing: it asks for the key.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/favicon.ico"})
OPEN_PREFIX = "/static/"
#: What the key of `OVCHAT_METRICS_KEY` opens.
METRICS_PATH = "/metrics"
#: Where a key is given for a session.
SIGN_IN = ("POST", "/api/v1/session")
#: Subprotocol that a browser's socket speaks; the key comes as a second one, because a page cannot set headers.
SUBPROTOCOL = "ovchat"
KEY_SUBPROTOCOL_PREFIX = "bearer."
SESSION_COOKIE = "ovchat_session"
#: What a page must say to change something by its cookie: another site's form cannot say it.
CSRF_HEADER, CSRF_VALUE = "x-requested-with", "ovchat"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CLOSE_NO_LONGER_ALLOWED = 1008


def presented_credential(headers: Headers) -> Credential | None:
    """Return a bearer token, a socket's ``bearer.<base64url>`` subprotocol, or the session's cookie, in this order."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return Credential("key", token.strip())
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        name = protocol.strip()
        if name.startswith(KEY_SUBPROTOCOL_PREFIX):
            encoded = name.removeprefix(KEY_SUBPROTOCOL_PREFIX)
            try:
                return Credential("key", base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
            except ValueError:
                return None
    cookie = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)
    return Credential("session", cookie) if cookie else None


def address_of(scope: Scope) -> str:
    """Return the address that a request came from; behind a proxy that uvicorn trusts, the one before it."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "unknown"


def has_to_authenticate(settings: GatewaySettings) -> bool:
    """Return whether a key is asked for.

    Raises:
        InvalidRequest: it shall not be, but others than this machine could come.
    """
    if settings.auth == "off" and not is_loopback(settings.host):
        raise InvalidRequest(
            f"OVCHAT_AUTH=off would let everybody who reaches {settings.host}:{settings.port} in as the admin. "
            "Listen on 127.0.0.1 (OVCHAT_HOST), or leave OVCHAT_AUTH on.",
            param="auth",
        )
    return settings.auth == "on"


class KeyGuard:
    """ASGI middleware that refuses by default, so that a new route is guarded without being told."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Callable[[], Authenticator],
        watch: Callable[[], CredentialWatch],
        *,
        is_on: bool,
        metrics_key: SecretStr | None = None,
    ) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            authenticator: gives the one that the application's lifespan has made.
            watch: likewise.
            is_on: where not, whoever reaches the port is the admin; the port is on loopback then.
            metrics_key: opens the metrics and nothing else. It is in no database, so they can be read without Redis.
        """
        self._app = app
        self._authenticator = authenticator
        self._watch = watch
        self._is_on = is_on
        self._metrics_key = metrics_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its user, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        credential = presented_credential(headers) if self._is_on else None
        try:
            principal = await self._admit(scope, headers, credential)
        except PlatformError as error:
            await _refuse(error, scope, receive, send)
            return
        except AWAY as error:
            await _refuse(redis_error(error), scope, receive, send)
            return
        if principal is None:
            await self._app(scope, receive, send)
        elif credential is None:
            await self._serve(scope, receive, send, Standing(principal))
        else:
            with self._watch().standing(credential, principal) as standing:
                await self._serve(scope, receive, send, standing)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, standing: Standing) -> None:
        """Pass on who asks. A socket is ended here; a route whose answer lasts looks at the standing itself."""
        scope.setdefault("state", {})["standing"] = standing
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send, standing)
        else:
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, headers: Headers, credential: Credential | None) -> Principal | None:
        """Return who asks; None where nobody has to be known."""
        if _is_open(scope):
            return None
        if not self._is_on:
            # Any page that the person opens elsewhere could ask, under a name of its own for this address, too.
            if comes_from_elsewhere(headers) or not names_loopback(headers):
                raise PermissionDenied("This comes from another site.")
            return Principal(ADMIN_USER, "admin", "off")
        if scope["type"] == "http" and (scope["method"], scope["path"]) == SIGN_IN:
            if comes_from_elsewhere(headers):
                raise PermissionDenied("This comes from another site.")
            return None
        if credential is None:
            raise InvalidApiKey("Send your key as `Authorization: Bearer KEY`.")
        if credential.kind == "key":
            if scope["path"] == METRICS_PATH and self._is_metrics_key(credential.secret):
                return None
            return await self._authenticator().by_key(credential.secret, address_of(scope))
        _refuse_forgery(scope, headers)
        return await self._authenticator().by_session(credential.secret)

    def _is_metrics_key(self, key: str) -> bool:
        known = self._metrics_key
        return known is not None and hmac.compare_digest(key.encode(), known.get_secret_value().encode())

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, standing: Standing) -> None:
        """Serve a socket as long as what opened it is good."""
        is_over = False

        async def send_while_good(message: Message) -> None:
            if not is_over:
                await send(message)

        serving = asyncio.ensure_future(self._app(scope, receive, send_while_good))
        ending = asyncio.ensure_future(standing.ended.wait())
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                is_over = True
                reason = "the key was revoked or the session has ended"
                await send({"type": "websocket.close", "code": CLOSE_NO_LONGER_ALLOWED, "reason": reason})
            await serving
        finally:
            ending.cancel()
            serving.cancel()


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["type"] == "http" and (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))


def _refuse_forgery(scope: Scope, headers: Headers) -> None:
    """Refuse what another site may have made a browser send with its cookie."""
    if scope["type"] == "websocket":
        if "origin" not in headers or comes_from_elsewhere(headers):
            raise PermissionDenied("A socket that is opened by the session's cookie has to come from the page.")
    elif scope["method"] not in SAFE_METHODS:
        if comes_from_elsewhere(headers):
            raise PermissionDenied("This comes from another site.")
        if headers.get(CSRF_HEADER) != CSRF_VALUE:
            raise PermissionDenied("A change by the session's cookie needs the header `X-Requested-With: ovchat`.")


async def _refuse(error: PlatformError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    await receive()
    start: Message = {
        "type": "websocket.http.response.start",
        "status": response.status_code,
        "headers": response.raw_headers,
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": response.body})
