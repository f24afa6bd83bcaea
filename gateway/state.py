"""What a gateway process holds: clients, services and loops, built once and closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.admin_key import AdminKey
from gateway.background import run_forever
from gateway.chats.listing import ChatListing
from gateway.chats.store import ChatStore
from gateway.conversion_client import ConversionTasks
from gateway.conversions.service import ConversionService
from gateway.draining import DrainSignal
from gateway.generations.admission import Admission
from gateway.generations.dispatcher import Dispatcher
from gateway.generations.finalizer import Finalizer
from gateway.generations.leadership import Leadership
from gateway.generations.lost_gateways import LostGateways
from gateway.generations.placer import PLACER_SECONDS, Placer
from gateway.generations.queue_entry import QueueEntry
from gateway.generations.reaper import Reaper
from gateway.generations.relay import Relay
from gateway.generations.tracing import GenerationTraces
from gateway.generations.waiting_room import WaitingRoom
from gateway.health.metrics import GatewayMetrics
from gateway.limits.user_limits import DefaultLimits, UserLimits
from gateway.models.index import ModelIndex
from gateway.models.placements import Placements
from gateway.models.variant_engines import VariantEngines
from gateway.store.runs import StoreRunService
from gateway.usage.store import UsageStore
from gateway.users.audit import AuditLog
from gateway.users.authenticator import Authenticator
from gateway.users.credential_watch import WATCH_SECONDS, CredentialWatch
from gateway.users.erasure import Erasure
from gateway.users.failures import SignInFailures
from gateway.users.first_key import FirstKey
from gateway.users.keys import KeyStore
from gateway.users.sessions import SessionStore
from shared.catalog import Catalog
from shared.ids import new_id
from shared.journal import Journal
from shared.log import get_logger
from shared.redis_client import AWAY, AsyncRedis, create_redis
from shared.registry import Registry
from shared.settings import GatewaySettings
from shared.tasks import end_tasks
from shared.tracing.spans import open_spans
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Everything that endpoints may ask."""

    settings: GatewaySettings
    gateway_id: str
    redis: AsyncRedis
    transport: AsyncRedis
    catalog: Catalog
    draining: DrainSignal
    models: ModelIndex
    placements: Placements
    engines: VariantEngines
    registry: Registry
    queue: WaitingQueue
    journal: Journal
    chats: ChatStore
    chat_listing: ChatListing
    finalizer: Finalizer
    relay: Relay
    waiting_room: WaitingRoom
    usage: UsageStore
    queue_entry: QueueEntry
    admission: Admission
    conversions: ConversionService
    conversion_tasks: ConversionTasks
    store_runs: StoreRunService
    metrics: GatewayMetrics
    api_keys: KeyStore
    sessions: SessionStore
    authenticator: Authenticator
    credential_watch: CredentialWatch
    audit: AuditLog
    erasure: Erasure


@asynccontextmanager
async def open_state(
    settings: GatewaySettings, draining: DrainSignal, admin_key: AdminKey, catalog: Catalog
) -> AsyncIterator[GatewayState]:
    """Build a gateway's state and run its loops until the context ends. Redis may be away: the loops wait for it."""
    gateway_id = new_id("gw")
    async with AsyncExitStack() as stack:
        # Generations wait in blocking reads, which need connections without an answer time limit.
        redis = create_redis(gateway_id, settings.state_url)
        transport = create_redis(gateway_id, settings.transport_url)
        state_blocking = create_redis(f"{gateway_id}-follow", settings.state_url, blocking=True)
        blocking = create_redis(f"{gateway_id}-read", settings.transport_url, blocking=True)
        for client in (redis, transport, state_blocking, blocking):
            stack.push_async_callback(client.aclose)
        models = ModelIndex(redis, catalog)
        registry = Registry(transport)
        queue = WaitingQueue(transport)
        journal = Journal(transport)
        chats = ChatStore(redis)
        metrics = GatewayMetrics()
        spans = open_spans(settings, "gateway", gateway_id)
        stack.push_async_callback(spans.close)
        traces = GenerationTraces(spans)
        usage = UsageStore(redis)
        api_keys, sessions, first_key = KeyStore(redis), SessionStore(redis), FirstKey(redis, admin_key)
        failures = SignInFailures(transport, settings.sign_in_failures_per_minute)
        authenticator = Authenticator(api_keys, sessions, failures, first_key)
        watch = CredentialWatch(authenticator)
        tasks = ConversionTasks(settings.transport_url)
        stack.callback(tasks.close)
        dispatcher = Dispatcher(transport, queue, registry, max_wait_seconds=settings.max_wait_seconds)
        relay = Relay(blocking, transport, journal, gateway_id)
        waiting_room = WaitingRoom(queue, dispatcher)
        finalizer = Finalizer(
            blocking,
            transport,
            journal,
            queue,
            chats,
            usage,
            metrics,
            traces,
            gateway_id=gateway_id,
            journal_ttl_seconds=settings.journal_ttl_seconds,
        )
        defaults = DefaultLimits(
            settings.max_concurrent_per_user, settings.requests_per_minute, settings.tokens_per_day
        )
        entry = QueueEntry(
            transport,
            queue,
            dispatcher,
            UserLimits(transport, usage, defaults),
            metrics,
            traces,
            gateway_id=gateway_id,
            max_waiting=settings.max_waiting,
        )
        leadership = Leadership(transport, gateway_id=gateway_id)
        lost_gateways = LostGateways(transport, queue)
        reaper = Reaper(registry, lost_gateways, leadership, metrics)
        # After its loops have ended, which would say that it lives.
        stack.push_async_callback(_leave, lost_gateways, gateway_id)
        placements = Placements(redis)
        engines = VariantEngines(redis, transport)
        placer = Placer(transport, placements, engines, models, registry, leadership)
        loops = [
            asyncio.create_task(run_forever(name, step, pause_seconds=pause_seconds), name=name)
            for name, step, pause_seconds in (
                ("relay", relay.read, 0.0),
                ("heartbeat", relay.heartbeat, 1.0),
                ("finalize", finalizer.read, 0.0),
                ("claim", finalizer.claim, CLAIM_SECONDS),
                ("waiting_room", waiting_room.step, WAITING_ROOM_SECONDS),
                ("reap", reaper.step, REAP_SECONDS),
                ("place_replicas", placer.step, PLACER_SECONDS),
                ("first_key", first_key.ensure, 1.0),
                ("credential_watch", watch.step, WATCH_SECONDS),
            )
        ]
        stack.push_async_callback(end_tasks, loops)
        yield GatewayState(
            settings=settings,
            gateway_id=gateway_id,
            redis=redis,
            transport=transport,
            catalog=catalog,
            draining=draining,
            models=models,
            placements=placements,
            engines=engines,
            registry=registry,
            queue=queue,
            journal=journal,
            chats=chats,
            chat_listing=ChatListing(redis),
            finalizer=finalizer,
            relay=relay,
            waiting_room=waiting_room,
            usage=usage,
            queue_entry=entry,
            admission=Admission(transport, models, chats, finalizer, entry),
            conversions=ConversionService(redis, state_blocking, models, catalog, tasks),
            conversion_tasks=tasks,
            store_runs=StoreRunService(redis, tasks),
            metrics=metrics,
            api_keys=api_keys,
            sessions=sessions,
            authenticator=authenticator,
            credential_watch=watch,
            audit=AuditLog(redis),
            erasure=Erasure(api_keys, sessions, chats, usage, queue, redis, transport),
        )


async def _leave(gateways: LostGateways, gateway_id: str) -> None:
    try:
        await gateways.leave(gateway_id)
    except AWAY:
        # Others notice its silence.
        _log.warning("gateway_left_without_goodbye")


#: Seconds between looks for ended generations that another gateway took and did not store.
CLAIM_SECONDS = 5.0
#: Seconds between looks for workers that fell silent.
REAP_SECONDS = 0.5
#: Seconds between updates of those who wait.
WAITING_ROOM_SECONDS = 0.5
