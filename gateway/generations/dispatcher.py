"""Moves waiting generations to workers: at once when one is queued, and again each second for what still waits."""

from __future__ import annotations

import time
from typing import cast

from gateway.generations.routing import Route, choose_route
from shared import keys
from shared.errors import ErrorBody, NoWorker, Overloaded, PlatformError, error_from_body
from shared.log import get_logger
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.registry import Registry
from shared.schemas.workers import LoadVariant
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)

#: Seconds for which one worker only is told to load a variant.
LOAD_LEASE_SECONDS = 5
#: Seconds without any worker after which what waits fails with ``no_worker``. They count from when this gateway first
#: saw none: after a restart of everything the workers need a moment, however long something has waited already.
NO_WORKER_SECONDS = 30.0


class Dispatcher:
    """Places the waiting generations of every variant."""

    def __init__(
        self, transport: AsyncRedis, queue: WaitingQueue, registry: Registry, *, max_wait_seconds: float
    ) -> None:
        self._redis = transport
        self._queue = queue
        self._registry = registry
        self._max_wait_seconds = max_wait_seconds
        self._workerless_since: float | None = None

    async def place(self, variant: str, *, familiar: str | None = None, may_load: bool = True) -> Route:
        """Assign the first that waits for ``model:variant`` where a slot is free, or have it loaded; return the route.

        The ``familiar`` worker is the one that knows the conversation which has just come.
        """
        while True:
            route = choose_route(variant, await self._registry.workers(), familiar=familiar)
            if route.action == "load" and may_load:
                await self._load(variant, cast(str, route.worker_id))
            # A replica that closed since the registry was read answers -1: look again.
            if route.action != "assign" or await self._take_one(route, variant) >= 0:
                return route

    async def sweep(self) -> dict[str, Route]:
        """Place every waiting variant again; fail what cannot be served or has waited too long."""
        routes = {}
        for variant in await self._queue.waiting_variants():
            failure = await self._load_failure(variant)
            route = await self.place(variant, may_load=failure is None)
            while route.action == "assign" and await self._redis.zcard(keys.waiting(variant)):
                route = await self.place(variant, may_load=failure is None)
            # One worker's failure is no reason to fail what another one serves or is about to.
            if failure is not None and route.action == "load" and route.is_loading:
                await self._fail_waiting(variant, failure, older_than_seconds=0.0)
                continue
            routes[variant] = route
            if self._workers_are_gone(route):
                error: PlatformError = NoWorker(
                    "No inference worker is running. Start one, or ask an admin to.",
                    retry_after_seconds=5,
                )
                await self._fail_waiting(variant, error, older_than_seconds=0.0)
            late = Overloaded(
                f"The generation waited longer than {self._max_wait_seconds:.0f} s for a worker.",
                retry_after_seconds=10,
            )
            await self._fail_waiting(variant, late, older_than_seconds=self._max_wait_seconds)
        return routes

    async def _take_one(self, route: Route, variant: str) -> int:
        return await self._queue.take(cast(str, route.worker_id), variant, most_assigned=1)

    def _workers_are_gone(self, route: Route) -> bool:
        """Tell whether there has been no worker for so long that none is expected."""
        if route.action != "nowhere":
            self._workerless_since = None
            return False
        if self._workerless_since is None:
            self._workerless_since = time.monotonic()
        return time.monotonic() - self._workerless_since > NO_WORKER_SECONDS

    async def _load(self, variant: str, worker_id: str) -> None:
        if await self._redis.set(keys.load_lease(variant), worker_id, nx=True, ex=LOAD_LEASE_SECONDS):
            _log.info("load_requested", variant=variant, worker_id=worker_id)
            await self._registry.send(worker_id, LoadVariant(variant=variant))

    async def _load_failure(self, variant: str) -> PlatformError | None:
        raw = await self._redis.get(keys.load_failure(variant))
        return None if raw is None else error_from_body(ErrorBody.model_validate_json(raw))

    async def _fail_waiting(self, variant: str, error: PlatformError, *, older_than_seconds: float) -> None:
        oldest_ms = await redis_now_ms(self._redis) - int(older_than_seconds * 1000)
        for generation_id in await self._queue.waiting_since(variant, oldest_ms):
            if await self._queue.fail(generation_id, error):
                _log.warning("waiting_failed", generation_id=generation_id, code=error.code)
