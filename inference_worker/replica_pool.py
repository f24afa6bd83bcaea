"""Loads, keeps and ends the replicas of one worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator

from inference_worker.host_memory import HostMemory
from inference_worker.load_plan import LoadPlan
from inference_worker.load_reasons import deletion
from inference_worker.loaded_replica import EndReason, LoadedReplica, Serving
from inference_worker.loading import read_assets
from inference_worker.replica_process import ReplicaProcess
from inference_worker.replica_protocol import StepDone
from inference_worker.text.text_shelf import TextShelf
from inference_worker.variant_supply import VariantSupply
from shared.errors import InternalError, LoadFailed, PlatformError
from shared.log import get_logger
from shared.schemas.workers import ReplicaState
from shared.settings import InferenceSettings

_log = get_logger(__name__)

#: An engine with work that says nothing for this long is hung; with the time between looks, that is noticed in 15 s.
HUNG_SECONDS = 14.0
_WATCH_SECONDS = 0.5
#: Share of a load's progress that fetching the files has, where there is something to fetch.
_FETCH_SHARE = 0.8
#: A variant whose engine dies this often within the time is given a rest before it is started again.
_MOST_DEATHS = 3
_DEATHS_WITHIN_SECONDS = 60.0
_REST_SECONDS = 10.0


class PoolListener:
    """What the pool tells its owner. Methods are called on the event loop and must not take long."""

    def on_step(self, replica: LoadedReplica, step: StepDone) -> None:
        """A replica computed a step."""

    def on_change(self, variant: str) -> None:
        """A replica's state changed: the registry should know soon."""

    def on_room(self) -> None:
        """A replica ended, or is idle and could."""

    def on_loaded(self, replica: LoadedReplica, load_seconds: float) -> None:
        """A replica became ready."""

    def on_ended(self, replica: LoadedReplica) -> None:
        """A replica was ended on purpose."""

    def on_wanted(self, variant: str) -> None:
        """A variant whose replica died is still needed here."""

    async def on_gone(self, replica: LoadedReplica) -> bool:
        """A replica's process died; returns whether its generations still need the variant here."""
        return False

    async def on_closing(self, replica: LoadedReplica) -> None:
        """A replica takes nothing more and is ended once idle."""

    async def on_load_failed(self, variant: str, error: PlatformError) -> None:
        """A variant cannot be loaded here."""


class ReplicaPool:
    """A process a variant. What may be started, and when, is `load_admission`'s; memory is given back here."""

    def __init__(
        self,
        settings: InferenceSettings,
        supply: VariantSupply,
        memory: HostMemory,
        listener: PoolListener,
    ) -> None:
        self._settings = settings
        self._supply = supply
        self._memory = memory
        self._listener = listener
        self._replicas: dict[str, LoadedReplica] = {}
        self._shelf = TextShelf(settings.max_replicas)
        self._step_tokens: dict[tuple[str, str], int] = {}
        """Measured step sizes, by variant and configuration."""
        self._deaths: dict[str, list[float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __iter__(self) -> Iterator[LoadedReplica]:
        return iter(list(self._replicas.values()))

    def __len__(self) -> int:
        return len(self._replicas)

    def state_of(self, variant: str) -> ReplicaState | None:
        """The state of a variant's replica; None where there is none."""
        replica = self._replicas.get(variant)
        return None if replica is None else replica.state

    def find_ready(self, variant: str) -> LoadedReplica | None:
        """The replica that takes generations of a variant."""
        replica = self._replicas.get(variant)
        return replica if replica is not None and replica.state == "ready" else None

    def free_slots(self, variant: str) -> int | None:
        """Free slots of a variant, None where it is not ready here."""
        replica = self._replicas.get(variant)
        return None if replica is None else replica.free_slots

    @property
    def idle_slots(self) -> dict[str, int]:
        """Free slots of the variants that are ready and have nothing to do."""
        idle = (replica for replica in self._replicas.values() if not replica.assigned)
        return {replica.variant: replica.free_slots for replica in idle if replica.free_slots is not None}

    def start(self, plan: LoadPlan) -> None:
        """Start a replica whose memory is reserved; returns at once."""
        replica = self._replicas[plan.variant] = LoadedReplica(plan.variant, plan)
        self._spawn(self._load(replica, plan))

    def tell(self, variant: str) -> None:
        """Tell the registry of a replica again."""
        self._listener.on_change(variant)

    def unload(self, variant: str, *, only_idle: bool = False, reason: EndReason = "asked") -> None:
        """End a replica once it is idle, or only where it is idle now; returns at once."""
        replica = self._replicas.get(variant)
        if replica is None or replica.state != "ready" or (only_idle and replica.assigned):
            return
        replica.state, replica.end_reason = "unloading", reason
        self._spawn(self._close(replica))

    def became_idle(self, replica: LoadedReplica) -> None:
        """Nothing is assigned to a replica any more."""
        replica.last_used = time.monotonic()
        if replica.state == "unloading":
            self._spawn(self._end(replica))
        else:
            self._listener.on_room()

    async def watch(self) -> None:
        """Kill hung engines, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for replica in self:
                if replica.serving is not None and replica.silent_seconds() > HUNG_SECONDS:
                    _log.error("replica_hung", variant=replica.variant, pid=replica.serving.process.pid)
                    await replica.serving.process.kill()

    async def stop(self) -> None:
        """End every process; idempotent."""
        self._stopping = True
        # Loading ones end with their task, which ends the process that it started.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        replicas, self._replicas = list(self._replicas.values()), {}
        await asyncio.gather(*(replica.serving.process.stop() for replica in replicas if replica.serving is not None))

    async def _load(self, replica: LoadedReplica, plan: LoadPlan) -> None:
        variant = replica.variant
        measured = (variant, plan.effective.config.model_dump_json())
        begin = time.monotonic()
        self._listener.on_change(variant)
        try:
            replica.held = await self._supply.hold(
                plan.files, lambda share: self._progressed(replica, share * _FETCH_SHARE)
            )
            fetched = replica.load_progress
            assets = await asyncio.to_thread(
                read_assets,
                plan,
                settings=self._settings,
                store=self._supply.files,
                shelf=self._shelf,
                step_tokens=self._step_tokens.get(measured),
            )
            process, info = await ReplicaProcess.start(
                assets.spec,
                name=variant,
                timeout_seconds=self._settings.load_timeout_seconds,
                report_progress=lambda progress: self._progressed(replica, fetched + (1 - fetched) * progress),
                gather_ms=self._settings.stream_gather_ms,
                token_log_dir=self._settings.token_log_dir,
            )
        except PlatformError as error:
            await self._load_failed(replica, plan, error)
            return
        except Exception:  # noqa: BLE001 - one variant's surprise must not end the worker.
            _log.exception("load_broken", variant=variant)
            await self._load_failed(
                replica, plan, InternalError(f"{variant} could not be loaded; the worker's log has more.")
            )
            return
        if info.max_num_batched_tokens:
            self._step_tokens[measured] = info.max_num_batched_tokens
        replica.is_stored = assets.is_stored
        replica.serving = Serving(process, info, assets.text, round(time.monotonic() - begin, 2))
        replica.state = "ready"
        replica.last_used = time.monotonic()
        self._memory.settle(variant, plan.need.held(process.resident_bytes() or 0))
        _log.info(
            "replica_ready",
            variant=variant,
            pid=process.pid,
            load_seconds=replica.serving.load_seconds,
            slots=info.slots,
            step_tokens=info.max_num_batched_tokens,
        )
        self._listener.on_loaded(replica, replica.serving.load_seconds)
        self._listener.on_change(variant)
        self._listener.on_room()
        await self._serve(replica, process)

    def _progressed(self, replica: LoadedReplica, progress: float) -> None:
        replica.load_progress = progress
        self._listener.on_change(replica.variant)

    async def _serve(self, replica: LoadedReplica, process: ReplicaProcess) -> None:
        try:
            async for step in process.steps():
                replica.heard(step)
                self._listener.on_step(replica, step)
        except asyncio.CancelledError:
            await process.stop()
            raise
        code = await process.wait()
        await process.kill()
        if self._stopping or replica.ending:
            return
        _log.error("replica_died", variant=replica.variant, code=code, message=process.failure)
        replica.state = "failed"
        self._forget(replica)
        needed = await self._listener.on_gone(replica)
        if self._dies_too_often(replica.variant):
            error = LoadFailed(f"The engine of {replica.variant} died {_MOST_DEATHS} times within a minute.")
            await self._listener.on_load_failed(replica.variant, error)
            # Whatever killed it may be over, and until then other workers have what waits.
            await asyncio.sleep(_REST_SECONDS)
        if needed and not self._stopping:
            self._listener.on_wanted(replica.variant)

    def _dies_too_often(self, variant: str) -> bool:
        now = time.monotonic()
        recent = [at for at in self._deaths.get(variant, []) if now - at < _DEATHS_WITHIN_SECONDS]
        self._deaths[variant] = [*recent, now]
        return len(recent) + 1 >= _MOST_DEATHS

    async def _load_failed(self, replica: LoadedReplica, plan: LoadPlan, error: PlatformError) -> None:
        deleted = await asyncio.to_thread(deletion, plan.files, self._supply.files)
        error = error if deleted is None else deleted
        _log.error("load_failed", variant=replica.variant, code=error.code, reason=error.message)
        # Before the registry knows that it is gone, or a gateway whose generations wait asks for it again at once.
        await self._listener.on_load_failed(replica.variant, error)
        replica.state = "failed"
        self._forget(replica)

    async def _close(self, replica: LoadedReplica) -> None:
        await self._listener.on_closing(replica)
        if not replica.assigned:
            await self._end(replica)

    async def _end(self, replica: LoadedReplica) -> None:
        if replica.ending or replica.serving is None or self._replicas.get(replica.variant) is not replica:
            return
        replica.ending = True
        # Its memory and its place are free only when the process is gone.
        await replica.serving.process.stop()
        _log.info("replica_ended", variant=replica.variant, reason=replica.end_reason)
        self._listener.on_ended(replica)
        self._forget(replica)

    def _forget(self, replica: LoadedReplica) -> None:
        if self._replicas.get(replica.variant) is replica:
            del self._replicas[replica.variant]
            self._memory.settle(replica.variant, 0)
            replica.held.close()
        self._listener.on_change(replica.variant)
        self._listener.on_room()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("replica_task_broken", exc_info=error)
