"""Decides when a wanted variant may be loaded: places, memory, and who goes for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from inference_worker.eviction import Candidate, choose_victims
from inference_worker.host_memory import HostMemory
from inference_worker.load_plan import LoadPlanner
from inference_worker.loaded_replica import LoadedReplica
from inference_worker.memory_need import MemoryNeed
from inference_worker.replica_pool import ReplicaPool
from shared.errors import InternalError, LoadFailed, PlatformError
from shared.log import get_logger
from shared.settings import InferenceSettings

_log = get_logger(__name__)

#: Gateways repeat their wish while somebody waits; one that was not repeated for this long is forgotten.
WISH_SECONDS = 20.0
#: After this long the least valuable busy replica takes nothing more, so that a wanted one is not kept out for ever.
PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.5


@dataclass(slots=True)
class _Wish:
    variant: str
    lasting: bool
    since: float = field(default_factory=time.monotonic)
    renewed: float = field(default_factory=time.monotonic)
    told: bool = False
    """Whether the log knows that it waits."""


class LoadAdmission:
    """Wanted variants, oldest first; each is loaded as soon as a place and the memory for it are there."""

    def __init__(
        self,
        settings: InferenceSettings,
        planner: LoadPlanner,
        pool: ReplicaPool,
        memory: HostMemory,
        *,
        is_pinned: Callable[[str], bool],
        on_failed: Callable[[str, PlatformError], Awaitable[None]],
        ask_neighbours: Callable[[int], Awaitable[None]],
    ) -> None:
        """`ask_neighbours` asks the host's other workers to end idle replicas that hold so many bytes."""
        self._settings = settings
        self._planner = planner
        self._pool = pool
        self._memory = memory
        self._is_pinned = is_pinned
        self._on_failed = on_failed
        self._ask_neighbours = ask_neighbours
        self._wishes: dict[str, _Wish] = {}
        self._wake = asyncio.Event()

    def load(self, variant: str, *, lasting: bool = False) -> None:
        """Load a variant, or as soon as there is room; returns at once. A lasting wish needs no repetition."""
        if self._pool.state_of(variant) in ("loading", "ready"):
            self._pool.tell(variant)
            return
        wish = self._wishes.setdefault(variant, _Wish(variant, lasting))
        wish.renewed, wish.lasting = time.monotonic(), wish.lasting or lasting
        self._wake.set()

    def forget(self, variant: str) -> None:
        """Load a variant no more."""
        self._wishes.pop(variant, None)

    def room_changed(self) -> None:
        """A replica ended or became idle."""
        self._wake.set()

    async def run(self) -> None:
        """Load what is wanted, until cancelled."""
        while True:
            # Memory of other workers becomes free without a word to this one, hence the look from time to time.
            try:
                async with asyncio.timeout(_LOOK_SECONDS if self._wishes else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            for wish in list(self._wishes.values()):
                if not wish.lasting and time.monotonic() - wish.renewed > WISH_SECONDS:
                    self.forget(wish.variant)
                elif not await self._admit(wish):
                    break

    async def _admit(self, wish: _Wish) -> bool:
        """Start a wanted variant; False where it waits for room, and later ones behind it."""
        variant = wish.variant
        state = self._pool.state_of(variant)
        if state == "unloading":
            return False
        if state is not None:
            self.forget(variant)
            return True
        try:
            plan = await self._planner.plan(variant)
            need = plan.need
            self._check_budget(variant, need)
        except PlatformError as error:
            await self._fail(variant, error)
            return True
        except Exception:  # noqa: BLE001 - one variant's surprise must not end the worker.
            _log.exception("load_broken", variant=variant)
            await self._fail(variant, InternalError(f"{variant} could not be loaded; the worker's log has more."))
            return True
        missing_places = len(self._pool) + 1 - self._settings.max_replicas
        missing_bytes = 0
        if missing_places <= 0:
            missing_bytes = await self._memory.reserve(variant, need.load_bytes)
            if missing_bytes <= 0:
                self.forget(variant)
                self._pool.start(plan)
                return True
        await self._make_room(wish, missing_bytes, missing_places)
        return False

    def _check_budget(self, variant: str, need: MemoryNeed) -> None:
        budget = self._memory.budget_bytes
        if need.load_bytes > budget:
            raise LoadFailed(
                f"{variant} needs {need.load_bytes / 1e9:.1f} GB of memory to load and the worker may use "
                f"{budget / 1e9:.1f} GB. Take a smaller variant, or raise OVCHAT_MEMORY_BUDGET_BYTES, or lower "
                "OVCHAT_KV_CACHE_BYTES or what `ovchat models engine` says of its KV cache."
            )

    async def _make_room(self, wish: _Wish, missing_bytes: int, missing_places: int) -> None:
        if any(replica.state == "unloading" for replica in self._pool):
            return
        evictable = [replica for replica in self._pool if self._may_end(replica)]
        idle = [self._candidate(replica) for replica in evictable if not replica.assigned]
        victims = choose_victims(idle, missing_bytes=missing_bytes, missing_places=missing_places)
        if not victims and missing_places <= 0:
            await self._ask_neighbours(missing_bytes - sum(candidate.reserved_bytes for candidate in idle))
        if not victims and time.monotonic() - wish.since > PATIENCE_SECONDS:
            every = [self._candidate(replica) for replica in evictable]
            victims = choose_victims(every, missing_bytes=missing_bytes, missing_places=missing_places)
            wish.since = time.monotonic()
        if not victims and not wish.told:
            wish.told = True
            _log.info("load_waits", variant=wish.variant, missing_bytes=missing_bytes, replicas=len(self._pool))
        for variant in victims:
            _log.info("replica_evicted", variant=variant, wanted=wish.variant)
            self._pool.unload(variant, reason="room")

    def _may_end(self, replica: LoadedReplica) -> bool:
        return replica.state == "ready" and not self._is_pinned(replica.variant)

    def _candidate(self, replica: LoadedReplica) -> Candidate:
        serving = replica.serving
        return Candidate(
            replica.variant,
            self._memory.held_bytes(replica.variant),
            serving.load_seconds if serving else 0.0,
            replica.idle_seconds(),
        )

    async def _fail(self, variant: str, error: PlatformError) -> None:
        self.forget(variant)
        _log.error("load_failed", variant=variant, code=error.code, reason=error.message)
        await self._on_failed(variant, error)
