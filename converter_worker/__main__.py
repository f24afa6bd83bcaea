"""The converter worker's process: `python -m converter_worker`."""

import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import redis.exceptions
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_shutting_down
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from converter_worker.card_maker import CardMaker
from converter_worker.celery_app import make_celery
from converter_worker.conversion import Conversions
from converter_worker.converter_registry import ConverterRegistry
from converter_worker.health import beat
from converter_worker.job_store import JobStore
from converter_worker.memory_gate import MemoryGate
from converter_worker.now_and_then import NowAndThen
from converter_worker.quality_queue import QualityQueue
from converter_worker.reaper import Reaper
from converter_worker.stage_runner import StageRunner
from converter_worker.stage_runners import StageRunners
from converter_worker.store_runs import StoreRuns
from converter_worker.store_worker import serve_beside
from converter_worker.sweeper import Sweeper
from converter_worker.tasks import register_stages, register_store_tasks, ticket_sender
from converter_worker.variant_index import VariantIndex
from converter_worker.version_stacks import VersionStacks
from shared import keys
from shared.catalog import load_catalog
from shared.errors import PlatformError
from shared.ids import new_id
from shared.log import configure_logging, get_logger
from shared.model_store import ModelStore
from shared.redis_client import create_sync_redis
from shared.redis_trust import check_trust
from shared.settings import ConverterSettings, invalid_setting, refuse_unknown_names

log = get_logger(__name__)

#: How long to wait between tries while Redis is away at start.
REDIS_RETRY_SECONDS = 1.0
#: How often left-overs are looked for, and how often the index is compared with the store: Redis may have been restored
#: from a backup, or a converter killed between a publication and its entry.
SWEEP_SECONDS, REBUILD_SECONDS = 60.0, 300.0


def run(settings: ConverterSettings, make_runner: Callable[..., StageRunner] = StageRunner) -> int:
    """Run the worker until a signal ends it; return the exit code. `make_runner` makes what runs the stages."""
    catalog = load_catalog(settings.catalog_dir)
    worker_id = new_id("w")
    stopping = threading.Event()
    state = create_sync_redis(f"converter-{worker_id}", settings.state_url)
    transport = create_sync_redis(f"converter-{worker_id}-transport", settings.transport_url)
    store = ModelStore(settings.store_path)
    jobs = JobStore(state, worker_id, settings.conversion_lease_seconds)
    index = VariantIndex(state, store)
    stacks = VersionStacks(settings.stacks_path)
    runners = StageRunners(
        stacks,
        lambda overlay: make_runner(threads=settings.converter_threads, telemetry=settings.telemetry, overlay=overlay),
        idle_seconds=settings.converter_idle_seconds,
    )
    gate = MemoryGate(settings.converter_memory_bytes, patience_seconds=settings.converter_patience_seconds)
    folders = [settings.store_path] + ([settings.conversion_dir] if settings.conversion_dir else [])
    registry = ConverterRegistry(transport, worker_id, gate, folders, settings.stage_slots)
    app = make_celery(settings)
    send = ticket_sender(app)
    conversions = Conversions(settings, jobs, store, catalog, index, runners, stacks, gate, registry, send, stopping)
    register_stages(app, conversions)
    store_app = make_celery(settings, keys.STORE_QUEUE)
    register_store_tasks(store_app, store, index, StoreRuns(settings, state, jobs, store))

    for number in (signal.SIGTERM, signal.SIGINT):
        # Celery puts its own handlers in place later; until then a signal ends the wait for Redis.
        signal.signal(number, lambda _number, _frame: stopping.set())
    queue = QualityQueue(state, worker_id)
    sweeper = Sweeper(jobs, store, settings.conversion_dir)
    if not _prepare(sweeper, index, registry, stopping):
        return 0
    chores = (NowAndThen(sweeper.sweep, SWEEP_SECONDS), NowAndThen(index.rebuild, REBUILD_SECONDS))
    if settings.converter_preload:
        runners.preload()
    reaper = Reaper(
        jobs,
        registry.waiting_messages,
        lease_seconds=settings.conversion_lease_seconds,
        send=lambda ticket: send(ticket, None),
        give_up=conversions.give_up,
        cancel=conversions.cancel,
    )

    def after_round() -> None:
        registry.beat()
        conversions.passing_on.look_again()
        beat(settings.data_dir)
        runners.end_idle()
        for chore in chores:
            chore.do_if_due()

    beat(settings.data_dir)
    reaping = threading.Thread(target=reaper.run, args=(stopping, after_round), name="reaper", daemon=True)
    reaping.start()
    serve_beside(store_app, f"store-{worker_id}", stopping)
    maker = CardMaker(settings, store, index, jobs, queue, conversions.activity, gate, worker_id, stopping)
    making = threading.Thread(target=maker.run, name="quality", daemon=True)
    making.start()
    try:
        return _serve(app, worker_id, settings.stage_slots, stopping)
    finally:
        stopping.set()
        runners.close()
        maker.close()
        making.join()
        reaping.join()
        with contextlib.suppress(redis.exceptions.RedisError, OperationalError):
            # What waits here would else be missed, and sent again, only after a while.
            conversions.passing_on.look_again()
        registry.leave()
        state.close()
        transport.close()


def _prepare(sweeper: Sweeper, index: VariantIndex, registry: ConverterRegistry, stopping: threading.Event) -> bool:
    """Clear left-overs and rebuild the index, as soon as Redis is there; False when told to stop before that."""
    complained = False
    while not stopping.is_set():
        try:
            sweeper.sweep()
            index.rebuild()
            registry.beat()
            return True
        except redis.exceptions.RedisError as error:
            if not complained:
                log.warning(
                    "redis_unavailable",
                    error=str(error),
                    hint="Start Redis, or set OVCHAT_REDIS_URL; this worker goes on trying.",
                )
                complained = True
            stopping.wait(REDIS_RETRY_SECONDS)
    return False


def _serve(app: Celery, worker_id: str, slots: int, stopping: threading.Event) -> int:
    def stop_stages(**_: object) -> None:
        stopping.set()

    def keep_logging(**_: object) -> None:
        """Logging is configured; without a receiver of this signal Celery would do it its own way."""

    worker_shutting_down.connect(stop_stages, weak=False)
    setup_logging.connect(keep_logging, weak=False)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    # Celery warns a superuser because of pickled messages; only JSON is accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        hostname=f"converter-{worker_id}",
        pool="threads",
        concurrency=slots,
        queues=[keys.CONVERSION_QUEUE, keys.converter_queue(worker_id)],
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    log.info("converter_started", worker_id=worker_id)
    worker.start()
    log.info("converter_stopped", worker_id=worker_id)
    return int(worker.exitcode or 0)


def main() -> None:
    """Read the settings, configure logging, run."""
    try:
        refuse_unknown_names()
        settings = ConverterSettings()
    except ValidationError as error:
        sys.exit(invalid_setting(error).message)
    except PlatformError as error:
        sys.exit(error.message)
    configure_logging("converter", settings)
    try:
        check_trust(settings)
        sys.exit(run(settings))
    except PlatformError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
