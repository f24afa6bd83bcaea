"""This worker's place in the registry: its id, its heartbeat, and a new id when it was declared lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from inference_worker.redis_patience import Backoff
from shared.ids import new_id
from shared.log import get_logger
from shared.redis_client import AWAY
from shared.registry import HEARTBEAT_SECONDS, Registry
from shared.schemas.workers import WorkerInfo

_log = get_logger(__name__)


class Registration:
    """Says each second, and at once after a change, that the worker lives and what it has loaded."""

    def __init__(
        self, registry: Registry, *, describe: Callable[[str], WorkerInfo], on_lost: Callable[[], Awaitable[None]]
    ) -> None:
        """`describe` makes the entry for a worker id; `on_lost` is called once the worker has a new id."""
        self._registry = registry
        self._describe = describe
        self._on_lost = on_lost
        self._worker_id = new_id("w")
        self._soon = asyncio.Event()
        self._registered = False
        self._was_lost = False
        """Whether the worker still has to be told that it has a new id."""
        self.pinned: frozenset[str] = frozenset()
        """The variants that no worker ends by itself, as of the last heartbeat."""

    @property
    def worker_id(self) -> str:
        """The id of now; it changes when a gateway declared the worker lost."""
        return self._worker_id

    def announce(self) -> None:
        """Send the next heartbeat at once."""
        self._soon.set()

    async def run(self) -> None:
        """Register and send heartbeats until cancelled; a Redis that is away is waited for."""
        backoff = Backoff("heartbeat")
        while True:
            self._soon.clear()
            try:
                await self.beat()
            except AWAY as error:
                await backoff.pause(error)
                continue
            backoff.succeeded()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._soon.wait()
            except TimeoutError:
                continue

    async def beat(self) -> None:
        """One heartbeat. After one that failed, the next begins where that one stood."""
        pinned = await self._registry.heartbeat(self._describe(self._worker_id), register=not self._registered)
        if pinned is None:
            _log.warning("worker_was_declared_lost", worker_id=self._worker_id)
            self._worker_id = new_id("w")
            self._registered, self._was_lost = False, True
            pinned = await self._registry.heartbeat(self._describe(self._worker_id), register=True)
        self.pinned = pinned or frozenset()
        if not self._registered:
            self._registered = True
            _log.info("worker_registered", worker_id=self._worker_id)
        if self._was_lost:
            self._was_lost = False
            await self._on_lost()

    async def leave(self) -> None:
        """Take the worker out of the registry; what it still had waits again."""
        await self._registry.reap(self._worker_id, silent_ms=0)
