"""An event loop beside the main thread, so that the socket lives on while the terminal waits for a line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

Result = TypeVar("Result")


class BackgroundLoop:
    """``with BackgroundLoop() as loop``: coroutines run in its thread, Ctrl-C stays with the main thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ovchat-socket", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Ctrl-C leaves what it interrupted behind, such as a connection that is being made.
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, coroutine: Coroutine[object, object, Result]) -> Future[Result]:
        """Run a coroutine and return its future; waiting for it can be interrupted by Ctrl-C."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine to its end."""
        return self.start(coroutine).result()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
