"""The most that a request's body may have: told by its length at once, or counted while it comes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.exception_handlers import error_response
from shared.errors import RequestTooLarge

#: Seconds for which the rest of a refused body is read and dropped. A connection that is closed on unread bytes is
#: reset, and the client would see that instead of the refusal.
LINGER_SECONDS = 2.0


class BodyLimit:
    """ASGI middleware that refuses a larger body with 413, whether the client told its length or not."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what it answers after its body was refused is dropped."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            await self._refuse(receive, send)
            return
        seen_bytes = 0
        is_started = is_refused = False

        async def receive_counted() -> Message:
            nonlocal seen_bytes, is_refused
            if not is_refused:
                message = await receive()
                seen_bytes += len(message.get("body", b""))
                if seen_bytes <= self._max_body_bytes:
                    return message
                is_refused = True
                if not is_started:
                    await self._refuse(receive, send)
            # An application that waits for more is told that the client has left, and ends.
            return {"type": "http.disconnect"}

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_started
            if is_started or not is_refused:
                is_started = True
                await send(message)

        await self._app(scope, receive_counted, send_unless_refused)

    async def _refuse(self, receive: Receive, send: Send) -> None:
        """Answer at once, then take in what the client still sends, for a while, and close."""
        response = error_response(RequestTooLarge(f"A request's body has at most {self._max_body_bytes} bytes here."))
        response.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
