"""The agent: wires the parts of a worker together, runs them, and takes them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time

from inference_worker.attempt_traces import AttemptTraces
from inference_worker.background_loops import BackgroundLoops
from inference_worker.command_reader import read_commands
from inference_worker.devices import Devices, discover_devices
from inference_worker.engine_choice import choose_engine
from inference_worker.generation_runner import GenerationRunner
from inference_worker.host_cores import HostCores, usable_cores
from inference_worker.host_memory import HostMemory
from inference_worker.idle_unloading import unload_deleted, unload_idle
from inference_worker.journal_writer import JournalWriter
from inference_worker.load_admission import LoadAdmission
from inference_worker.load_plan import LoadPlanner, PlanningGround
from inference_worker.loaded_replica import EndReason, LoadedReplica
from inference_worker.memory import default_budget_bytes, free_memory_bytes, memory_host
from inference_worker.metrics import WorkerMetrics
from inference_worker.metrics_endpoint import serve_metrics
from inference_worker.neighbours import ask_for_memory
from inference_worker.preloading import preload, preloaded_variants
from inference_worker.redis_patience import until_answered
from inference_worker.registration import Registration
from inference_worker.replica_pool import PoolListener, ReplicaPool
from inference_worker.replica_protocol import StepDone
from inference_worker.slot_keeper import SlotKeeper
from inference_worker.store_cache.supply import open_supply
from inference_worker.strays import give_strays_back, tell_idle_slots
from inference_worker.text.template_renderer import TemplateRenderer
from shared import keys
from shared.affinity import PrefixAffinity
from shared.catalog import load_catalog
from shared.errors import PlatformError, StoreUnavailable
from shared.host_ledger import HostLedger
from shared.journal import Attempt, Journal
from shared.log import get_logger
from shared.redis_client import AWAY, create_redis
from shared.registry import Registry
from shared.schemas.workers import (
    CancelGeneration,
    Drain,
    Generate,
    LoadVariant,
    UnloadVariant,
    WorkerCommand,
    WorkerInfo,
)
from shared.settings import InferenceSettings
from shared.tasks import end_tasks
from shared.tracing.spans import open_spans
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)

#: How long gateways fail what waits for a variant that could not be loaded, before it is tried again.
LOAD_FAILURE_SECONDS = 5
_GOODBYE_SECONDS = 5.0
#: Within this time workers that are started together have registered.
_NEIGHBOURS_SECONDS = 3.0


class Agent(PoolListener):
    """One worker on one device. `run` lives until `stop` is called; a second `stop` ends the grace time."""

    def __init__(self, settings: InferenceSettings, devices: Devices) -> None:
        self._settings = settings
        self._versions = devices.versions
        self._device_name = "sample" if settings.engine == "sample" else devices.full_name(settings.device)
        self._started_ms = int(time.time() * 1000)
        self._draining = False
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        url, name = settings.transport_url, "inference-worker"
        self._redis = create_redis(name, url)
        # What appends must not be repeated by the client itself: the writer knows what was carried out.
        self._once_redis = create_redis(f"{name}-journal", url, once=True)
        self._commands_redis = create_redis(f"{name}-commands", url, blocking=True)
        self._registry = Registry(self._redis)
        self._registration = Registration(self._registry, describe=self._describe, on_lost=self._on_lost)
        self._renderer = TemplateRenderer()
        self._supply = open_supply(settings)
        self._host_id = settings.host_id or platform.node()
        self._cores = usable_cores()
        self._memory = HostMemory(
            HostLedger(self._redis),
            host_id=memory_host(self._host_id, platform.node(), is_told=settings.memory_budget_bytes is not None),
            worker_id=self._worker_id,
            budget_bytes=settings.memory_budget_bytes or default_budget_bytes(),
        )
        planner = LoadPlanner(
            PlanningGround(
                settings,
                self._supply.published,
                load_catalog(settings.catalog_dir),
                self._device_name,
                tuple(devices.names),
            ),
            self._redis,
            HostCores(self._registry, settings, describe=lambda: self._describe(self._worker_id())),
        )
        self._preloaded = preloaded_variants(settings.preload_models)
        self._pool = ReplicaPool(settings, self._supply, self._memory, self)
        self._loads = LoadAdmission(
            settings,
            planner,
            self._pool,
            self._memory,
            is_pinned=self._is_pinned,
            on_failed=self.on_load_failed,
            ask_neighbours=self._ask_neighbours,
        )
        self._metrics = WorkerMetrics(settings.device)
        self._spans = open_spans(settings, "inference", f"{platform.node()}-{os.getpid()}")
        self._writer = JournalWriter(
            Journal(self._once_redis),
            worker_id=self._worker_id,
            on_refused=self._on_refused,
            on_appended=self._metrics.appended,
        )
        self._slots = SlotKeeper(
            WaitingQueue(self._once_redis),
            self._registry,
            worker_id=self._worker_id,
            free_slots=self._free_slots,
        )
        self._runner = GenerationRunner(
            pool=self._pool,
            queue=WaitingQueue(self._redis),
            journal=Journal(self._redis),
            writer=self._writer,
            slots=self._slots,
            affinity=PrefixAffinity(self._redis),
            renderer=self._renderer,
            device=settings.device,
            worker_id=self._worker_id,
            metrics=self._metrics,
            traces=AttemptTraces(self._spans, device=settings.device, worker_id=self._worker_id),
        )
        self._commands: asyncio.Task[None] | None = None
        self._loops = BackgroundLoops(self._break_off)

    def stop(self) -> None:
        """Drain and end."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped. Raises what broke a part of the agent, after everything was taken down."""
        async with contextlib.AsyncExitStack() as stack:
            for client in (self._redis, self._once_redis, self._commands_redis):
                stack.push_async_callback(client.aclose)
            stack.push_async_callback(self._spans.close)
            stack.push_async_callback(self._renderer.stop)
            stack.push_async_callback(self._pool.stop)
            stack.push_async_callback(self._runner.stop)
            await self._renderer.start()
            if self._settings.metrics_port is not None:
                host, port = self._settings.metrics_host, self._settings.metrics_port
                await stack.enter_async_context(serve_metrics(self._render_metrics, host=host, port=port))
            if not await self._registers():
                return
            stack.push_async_callback(self._loops.end)
            self._start_loops()
            await self._stop.wait()
            await self._drain()

    async def _registers(self) -> bool:
        """Register once Redis answers; False where the worker was told to stop before that."""
        register = asyncio.create_task(until_answered("register", self._registration.beat))
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({register, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if register.done():
            await register
            return True
        await end_tasks((register,))
        return False

    def _start_loops(self) -> None:
        self._commands = self._loops.start(self._obey())
        for work in (
            self._registration.run(),
            self._writer.run(),
            self._slots.run(),
            self._memory.run(),
            self._loads.run(),
            self._pool.watch(),
            give_strays_back(
                self._registry,
                WaitingQueue(self._redis),
                worker_id=self._worker_id,
                owned=lambda: self._runner.generation_ids | self._writer.generation_ids,
            ),
            tell_idle_slots(lambda: self._pool.idle_slots, self._registry, self._slots, worker_id=self._worker_id),
            self._supply.run(),
            preload(
                self._preloaded,
                self._supply.published,
                self._load_for_good,
                # Where the operator names the host, he starts others on it: a share counts who is registered.
                begin_after_seconds=_NEIGHBOURS_SECONDS if self._settings.host_id else 0.0,
            ),
            unload_idle(self._pool, self._settings.idle_unload_seconds, self._is_pinned),
            unload_deleted(self._pool, self._supply.published),
        ):
            self._loops.start(work)

    def _break_off(self) -> None:
        self._hurry.set()
        self._stop.set()

    async def _obey(self) -> None:
        async for command in read_commands(self._commands_redis, self._worker_id()):
            self._handle(command)

    def _handle(self, command: WorkerCommand) -> None:
        match command:
            case Generate():
                self._runner.generate(command)
            case CancelGeneration():
                self._runner.cancel(command.generation_id)
            case LoadVariant():
                if not self._draining:
                    self._loads.load(command.variant)
            case UnloadVariant():
                self._unload(command)
            case Drain():
                self._close_doors()

    def _unload(self, command: UnloadVariant) -> None:
        if command.only_idle and self._is_pinned(command.variant):
            return
        self._loads.forget(command.variant)
        # Only another worker of the host, which needs memory, asks for idle ones.
        reason: EndReason = "room" if command.only_idle else "asked"
        self._pool.unload(command.variant, only_idle=command.only_idle, reason=reason)

    def _is_pinned(self, variant: str) -> bool:
        return variant in self._preloaded or variant in self._registration.pinned

    async def _ask_neighbours(self, missing_bytes: int) -> None:
        await ask_for_memory(
            self._registry, host_id=self._memory.host_id, worker_id=self._worker_id(), missing_bytes=missing_bytes
        )

    def _close_doors(self) -> None:
        if self._draining:
            return
        self._draining = True
        _log.info("worker_draining", worker_id=self._worker_id())
        self._registration.announce()
        for replica in self._pool:
            self._slots.publish(replica.variant)

    async def _drain(self) -> None:
        self._close_doors()
        idle = asyncio.create_task(self._runner.until_idle())
        hurry = asyncio.create_task(self._hurry.wait())
        grace = self._settings.drain_grace_seconds
        await asyncio.wait({idle, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for task in (idle, hurry):
            task.cancel()
        self._runner.drop_all()
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._writer.flushed()
                await self._registration.leave()
        except AWAY:
            # The gateways' reaper finds out by the missing heartbeat.
            _log.warning("worker_left_without_goodbye", worker_id=self._worker_id())

    def _render_metrics(self) -> bytes:
        return self._metrics.render(self._pool, self._memory)

    def _worker_id(self) -> str:
        return self._registration.worker_id

    def _free_slots(self, variant: str) -> int | None:
        return None if self._draining else self._pool.free_slots(variant)

    def _describe(self, worker_id: str) -> WorkerInfo:
        replicas = tuple(
            replica.info(
                reserved_bytes=self._memory.held_bytes(replica.variant), pinned=self._is_pinned(replica.variant)
            )
            for replica in self._pool
        )
        return WorkerInfo(
            worker_id=worker_id,
            host_id=self._host_id,
            node=platform.node(),
            device=self._settings.device,
            device_name=self._device_name,
            engine=choose_engine(self._settings.engine, model_type="", device=self._settings.device),
            state="draining" if self._draining else "ready",
            cores=self._cores,
            replicas=replicas,
            max_replicas=self._settings.max_replicas,
            free_memory_bytes=free_memory_bytes(),
            memory_budget_bytes=self._memory.budget_bytes,
            memory_reserved_bytes=self._memory.total_held_bytes,
            versions=self._versions,
            started_ms=self._started_ms,
            generated_tokens=self._runner.generated_tokens,
        )

    async def _on_lost(self) -> None:
        self._runner.drop_all()
        old, self._commands = self._commands, self._loops.start(self._obey())
        if old is not None:
            old.cancel()
        self._memory.write_again()
        for replica in self._pool:
            self._slots.publish(replica.variant)

    def _on_refused(self, attempts: frozenset[Attempt]) -> None:
        self._runner.on_refused(attempts)

    def on_step(self, replica: LoadedReplica, step: StepDone) -> None:
        self._metrics.stepped(replica, step)
        self._runner.on_step(step)

    def on_change(self, variant: str) -> None:
        self._slots.publish(variant)
        self._registration.announce()

    def on_loaded(self, replica: LoadedReplica, load_seconds: float) -> None:
        self._metrics.loaded(replica, load_seconds)

    def on_ended(self, replica: LoadedReplica) -> None:
        self._metrics.evicted(replica)

    def on_room(self) -> None:
        self._loads.room_changed()

    def on_wanted(self, variant: str) -> None:
        self._loads.load(variant)

    async def on_gone(self, replica: LoadedReplica) -> bool:
        self._metrics.died(replica)
        await until_answered("close", lambda: self._slots.close(replica.variant))
        return await self._runner.on_replica_gone(replica) or self._is_pinned(replica.variant)

    async def on_closing(self, replica: LoadedReplica) -> None:
        await until_answered("close", lambda: self._slots.close(replica.variant))

    def _load_for_good(self, variant: str) -> None:
        self._loads.load(variant, lasting=True)

    async def on_load_failed(self, variant: str, error: PlatformError) -> None:
        self._metrics.load_failed(variant, error.code)
        if isinstance(error, StoreUnavailable) and variant in self._preloaded:
            # Nobody else asks for it again once the store is back.
            asyncio.get_running_loop().call_later(LOAD_FAILURE_SECONDS, self._load_for_good, variant)
        body = error.body().model_dump_json()
        await until_answered(
            "load failure", lambda: self._redis.set(keys.load_failure(variant), body, ex=LOAD_FAILURE_SECONDS)
        )


async def create_agent(settings: InferenceSettings) -> Agent:
    """An agent for the device of the settings. Raises DeviceNotFound."""
    if settings.engine == "sample":
        return Agent(settings, Devices({}, {}))
    return Agent(settings, await discover_devices())
