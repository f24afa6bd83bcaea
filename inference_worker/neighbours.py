"""The other workers of this host, which share its memory."""

from __future__ import annotations

import functools

from inference_worker.eviction import Candidate, choose_victims
from inference_worker.redis_patience import until_answered
from shared.log import get_logger
from shared.registry import Registry
from shared.schemas.workers import UnloadVariant

_log = get_logger(__name__)


async def ask_for_memory(registry: Registry, *, host_id: str, worker_id: str, missing_bytes: int) -> None:
    """Ask the host's other workers to end idle replicas, the least valuable first, that hold so many bytes."""
    workers = await until_answered("neighbours", registry.workers)
    owners: dict[str, tuple[str, str]] = {}
    candidates = []
    for worker in workers:
        if worker.info.host_id != host_id or worker.info.worker_id == worker_id:
            continue
        for replica in worker.info.replicas:
            if replica.state != "ready" or replica.running or replica.pinned:
                continue
            name = f"{worker.info.worker_id}|{replica.key}"
            owners[name] = (worker.info.worker_id, replica.key)
            candidates.append(
                Candidate(name, replica.reserved_bytes, replica.load_seconds or 0.0, replica.idle_seconds)
            )
    for name in choose_victims(candidates, missing_bytes=missing_bytes, missing_places=0):
        owner, variant = owners[name]
        _log.info("neighbour_asked_for_memory", worker_id=owner, variant=variant)
        command = UnloadVariant(variant=variant, only_idle=True)
        await until_answered("neighbours", functools.partial(registry.send, owner, command))
