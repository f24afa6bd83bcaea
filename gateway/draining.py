"""The signal that this process takes nothing new and that open streams shall end."""

from __future__ import annotations

import asyncio


class DrainSignal:
    """Set once, by the server, when the process is asked to end; streams and sockets wait on it.

    uvicorn waits for open responses before it runs the lifespan's end, so an endless stream needs its own signal.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the process drains."""
        return self._event.is_set()

    def set(self) -> None:
        """Start draining; must be called from the event loop's thread."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the process drains."""
        await self._event.wait()
