"""`GET /metrics` of a worker: the only thing that one can be asked over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import CONTENT_TYPE_LATEST

from shared.errors import InvalidRequest
from shared.log import get_logger

_log = get_logger(__name__)
#: How long a client may take to say what it wants, or to take the answer.
_PATIENCE_SECONDS = 5.0
_HEAD_LIMIT_BYTES = 16384


@contextlib.asynccontextmanager
async def serve_metrics(render: Callable[[], bytes], *, host: str, port: int) -> AsyncIterator[None]:
    """Answer scrapes until the context ends.

    Raises:
        InvalidRequest: the address cannot be had; the message says what to do.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, render))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # Whoever it was, it is no scraper, or has gone.
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_HEAD_LIMIT_BYTES)
    except OSError as error:
        raise InvalidRequest(
            f"Cannot listen on {host}:{port} for metrics: {error.strerror}. "
            "Stop what uses it, or set OVCHAT_METRICS_PORT to another port.",
            param="metrics_port",
        ) from error
    _log.info("metrics_listening", host=host, port=server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()


def _response(head: bytes, render: Callable[[], bytes]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != b"/metrics":
        status, body = "404 Not Found", b""
    elif method != b"GET":
        status, body = "405 Method Not Allowed\r\nAllow: GET", b""
    else:
        status, body = "200 OK", render()
    fields = f"Content-Type: {CONTENT_TYPE_LATEST}\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body
