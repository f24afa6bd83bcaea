"""Tells those who wait here where they stand: their place in the queue, and that their model is being loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.generations.dispatcher import Dispatcher
from gateway.generations.routing import Route
from shared.journal import encode_frame
from shared.schemas.realtime import GenerationQueued, ModelLoading
from shared.waiting_queue import WaitingQueue


@dataclass(slots=True)
class _Waiting:
    queued: GenerationQueued
    variant: str
    deliver: Callable[[bytes], None]
    told_loading: float | None = None


class WaitingRoom:
    """The queued generations whose sockets are on this gateway."""

    def __init__(self, queue: WaitingQueue, dispatcher: Dispatcher) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._waiting: dict[str, _Waiting] = {}

    def enter(self, queued: GenerationQueued, variant: str, deliver: Callable[[bytes], None]) -> None:
        """Keep a socket told until its generation leaves the queue."""
        self._waiting[queued.generation_id] = _Waiting(queued, variant, deliver)

    def leave(self, generation_id: str) -> None:
        """Stop telling; silent where it left before."""
        self._waiting.pop(generation_id, None)

    async def step(self) -> None:
        """Place what waits, then tell each socket what changed for it."""
        routes = await self._dispatcher.sweep()
        variants = {generation_id: waiting.variant for generation_id, waiting in self._waiting.items()}
        for generation_id, position in (await self._queue.positions(variants)).items():
            waiting = self._waiting.get(generation_id)
            if waiting is None:
                continue
            if position is None:
                self.leave(generation_id)
                continue
            if position != waiting.queued.position:
                waiting.queued = waiting.queued.model_copy(update={"position": position})
                waiting.deliver(encode_frame(waiting.queued))
            self._tell_loading(waiting, routes.get(waiting.variant))

    @staticmethod
    def _tell_loading(waiting: _Waiting, route: Route | None) -> None:
        if route is None or not route.is_loading:
            return
        progress = route.load_progress or 0.0
        if progress == waiting.told_loading:
            return
        waiting.told_loading = progress
        waiting.deliver(
            encode_frame(
                ModelLoading(
                    generation_id=waiting.queued.generation_id, model=waiting.variant, progress=route.load_progress
                )
            )
        )
