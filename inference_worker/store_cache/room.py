"""Makes room in a cache: what nobody uses goes, what was used longest ago first."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from inference_worker.store_cache.cached_store import CachedStore, CacheEntry, folder_bytes, lock_name, sum_bytes
from inference_worker.store_cache.locks import CacheLock
from shared.errors import DiskFull, LoadFailed
from shared.log import get_logger
from shared.schemas.models import Manifest

_log = get_logger(__name__)

#: Lock of those who look how much room there is.
_ROOM_LOCK = "room"


def make_room(store: CachedStore, manifest: Manifest, limit_bytes: int | None) -> Path:
    """Return the folder to fetch a variant into, with room by the limit and on the disk; the caller has its lock.

    Raises:
        LoadFailed: it is larger than the whole cache may be.
        DiskFull: what is used now leaves too little; nothing was removed.
    """
    name = f"{manifest.model}:{manifest.variant}"
    total_bytes = sum_bytes(manifest)
    if limit_bytes is not None and total_bytes > limit_bytes:
        raise LoadFailed(
            f"{name} is {total_bytes / 1e9:.2f} GB and this worker's cache may have {limit_bytes / 1e9:.2f} GB. "
            "Raise OVCHAT_STORE_CACHE_BYTES, or take a smaller variant."
        )
    with CacheLock(store.path, _ROOM_LOCK) as lock:
        lock.wait_alone()
        own = lock_name(manifest.model, manifest.variant)
        # What is being fetched has written its promise, so that two workers do not give away the same room.
        folder = store.begin(manifest)
        others = [entry for entry in store.entries() if entry.lock_name != own]
        missing_bytes = total_bytes - folder_bytes(folder)
        missing_bytes -= shutil.disk_usage(store.path).free
        if limit_bytes is not None:
            missing_bytes = max(missing_bytes, total_bytes + sum(entry.size_bytes for entry in others) - limit_bytes)
        if missing_bytes > 0 and not _remove_unused(store, others, missing_bytes, wanted=name):
            store.remove(manifest.model, manifest.variant)
            raise DiskFull(
                f"There is no room for {name} ({total_bytes / 1e9:.2f} GB) in this worker's cache: "
                f"{missing_bytes / 1e9:.2f} GB are missing, and what it has is in use. Unload a model, free some disk, "
                "or raise OVCHAT_STORE_CACHE_BYTES."
            )
    return folder


def _remove_unused(store: CachedStore, entries: Sequence[CacheEntry], missing_bytes: int, *, wanted: str) -> bool:
    """Remove entries until so many bytes are free; False, and nothing removed, where the unused ones do not suffice."""
    with contextlib.ExitStack() as stack:
        unused: list[tuple[float, CacheEntry]] = []
        for entry in entries:
            lock = stack.enter_context(CacheLock(store.path, entry.lock_name))
            if lock.try_alone():
                unused.append((lock.last_use, entry))
        if sum(entry.size_bytes for _, entry in unused) < missing_bytes:
            return False
        for _, entry in sorted(unused, key=lambda one: one[0]):
            if missing_bytes <= 0:
                break
            store.remove(entry.model, entry.variant)
            missing_bytes -= entry.size_bytes
            name = f"{entry.model}:{entry.variant}"
            _log.info("cached_variant_dropped", variant=name, reason="room", wanted=wanted)
    return True
