"""The HTTP server: uvicorn, told to drain before it waits for open streams."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from gateway.draining import DrainSignal
from shared.errors import InvalidRequest
from shared.schemas.realtime import MAX_FRAME_BYTES
from shared.settings import GatewaySettings


class DrainingServer(uvicorn.Server):
    """A server whose end begins with the drain signal, on which sockets and event streams wait."""

    def __init__(self, config: uvicorn.Config, draining: DrainSignal) -> None:
        super().__init__(config)
        self._draining = draining
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, remembering the loop that the signal handler wakes."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, then end as uvicorn does."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._draining.set)
        super().handle_exit(sig, frame)


def bind(settings: GatewaySettings) -> socket.socket:
    """Return the listening socket.

    Raises:
        InvalidRequest: the address cannot be had; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Stop what uses it, or set OVCHAT_PORT to another port.",
            param="port",
        ) from error
    return listener


def create_server(app: ASGIApp, settings: GatewaySettings, draining: DrainSignal) -> DrainingServer:
    """Return the server of an application."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws_max_size=MAX_FRAME_BYTES,
        # Frames are small and many: deflating each costs more than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
        server_header=False,
    )
    return DrainingServer(config, draining)
