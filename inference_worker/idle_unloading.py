"""Ends replicas that nobody has used for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inference_worker.preloading import is_published
from inference_worker.replica_pool import ReplicaPool
from shared.log import get_logger
from shared.model_store import ModelStore

_log = get_logger(__name__)
_LOOKS_A_TIME = 20
_LONGEST_PAUSE_SECONDS = 5.0


async def unload_idle(pool: ReplicaPool, idle_seconds: float, is_pinned: Callable[[str], bool]) -> None:
    """End what has been idle for so long and is not pinned, until cancelled; 0 seconds keeps everything."""
    while idle_seconds:
        await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(0.05, idle_seconds / _LOOKS_A_TIME)))
        for replica in pool:
            if replica.state == "ready" and replica.idle_seconds() > idle_seconds and not is_pinned(replica.variant):
                _log.info("replica_idle", variant=replica.variant, idle_seconds=round(replica.idle_seconds()))
                pool.unload(replica.variant, only_idle=True, reason="idle")


async def unload_deleted(pool: ReplicaPool, store: ModelStore) -> None:
    """End the replicas of variants that are not in the store any more, until cancelled."""
    while True:
        await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
        for replica in pool:
            if replica.state != "ready" or not replica.is_stored:
                continue
            if not await asyncio.to_thread(is_published, replica.variant, store):
                _log.info("replica_of_deleted_variant", variant=replica.variant)
                pool.unload(replica.variant, reason="deleted")
