"""The one door to the waiting queue: every generation, of a chat or not, is admitted here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from gateway.generations.dispatcher import Dispatcher
from gateway.generations.tracing import GenerationTraces
from gateway.health.metrics import GatewayMetrics
from gateway.limits.reservation import tokens_to_reserve
from gateway.limits.user_limits import UserLimits
from gateway.principal import Principal
from shared import keys
from shared.affinity import PrefixAffinity
from shared.errors import Overloaded, QuotaExceeded, RateLimited
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.generation import GenerationRequest
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)


class QueueEntry:
    """Lets a generation wait, watched by this gateway, and places it at once where a slot is free."""

    def __init__(
        self,
        transport: AsyncRedis,
        queue: WaitingQueue,
        dispatcher: Dispatcher,
        limits: UserLimits,
        metrics: GatewayMetrics,
        traces: GenerationTraces,
        *,
        gateway_id: str,
        max_waiting: int,
    ) -> None:
        self._redis = transport
        self._affinity = PrefixAffinity(transport)
        self._queue = queue
        self._dispatcher = dispatcher
        self._limits = limits
        self._metrics = metrics
        self._traces = traces
        self._gateway_id = gateway_id
        self._max_waiting = max_waiting

    async def admit(self, principal: Principal, variant: str, tokens: Mapping[str, int]) -> None:
        """Say no before anything is stored for generations that could not begin: all of one request's, or none.

        What is admitted is queued within 15 s, or given back.

        Args:
            principal: whose they are.
            variant: ``model:variant``.
            tokens: how many of the day's tokens each generation may use, by its id.

        Raises:
            InvalidRequest: it has more answers than the user may ever have at once.
            RateLimited: one of the user's own limits is reached.
            QuotaExceeded: the user's tokens of the day are spent.
            Overloaded: as many as may wait for ``model:variant`` already do.
        """
        with self._counting_refusals(variant):
            # Asked for in one moment, so in one round trip.
            is_new, waiting = await asyncio.gather(
                self._limits.admit(principal, tokens), self._redis.zcard(keys.waiting(variant))
            )
            # What is known already may be one of those that wait.
            if is_new and waiting >= self._max_waiting:
                await self.give_back(principal, *tokens)
                raise self._overloaded()

    async def give_back(self, principal: Principal, *generation_ids: str) -> None:
        """Take an admission back; what is queued stays."""
        await self._limits.give_back(principal.user, *generation_ids)

    async def enter(self, request: GenerationRequest, principal: Principal) -> int:
        """Queue an admitted generation and return how many stand before it; the same id is queued once.

        What it may use of the day's tokens is known by now, and is what it reserves from here on.

        Raises:
            RateLimited, QuotaExceeded, Overloaded: as :meth:`admit`.
        """
        with bound_contextvars(generation_id=request.generation_id):
            return await self._enter(self._traces.begun(request), principal)

    async def _enter(self, request: GenerationRequest, principal: Principal) -> int:
        with self._counting_refusals(request.variant_key):
            if self._limits.limits_tokens(principal):
                await self._limits.admit(principal, {request.generation_id: tokens_to_reserve(request)})
            enqueued, familiar = await asyncio.gather(
                self._queue.enqueue(request, self._gateway_id, self._max_waiting, weight=principal.limits.weight),
                self._affinity.worker_of(request),
            )
            if enqueued.outcome == "overloaded":
                await self.give_back(principal, request.generation_id)
                raise self._overloaded()
        if enqueued.outcome == "queued":
            _log.info(
                "generation_queued",
                request_id=request.request_id,
                user=request.user,
                variant=request.variant_key,
                position=enqueued.position,
            )
            await self._dispatcher.place(request.variant_key, familiar=familiar)
            self._traces.admitted(request, enqueued.position)
        return enqueued.position

    async def waiting(self, generation_id: str) -> tuple[GenerationRequest, int] | None:
        """Return a request that still waits and how many stand before it; None where it waits no more."""
        request = await self._queue.request(generation_id)
        if request is None:
            return None
        position = await self._queue.position(generation_id, request.variant_key)
        return None if position is None else (request, position)

    @contextmanager
    def _counting_refusals(self, variant: str) -> Iterator[None]:
        try:
            yield
        except (RateLimited, QuotaExceeded, Overloaded) as error:
            self._metrics.rejected(variant, error)
            _log.info("generation_refused", variant=variant, code=error.code)
            raise

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self._max_waiting} generations wait for this model already. Try again later.", retry_after_seconds=5
        )
