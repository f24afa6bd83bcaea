"""Variants of a `store` service, fetched when they are loaded and kept in a folder that the host's workers share."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from inference_worker.store_cache.cached_store import CachedStore, folder_bytes, is_same, lock_name, sum_bytes
from inference_worker.store_cache.fetching import FetchStopped, Interruption, VariantFetch
from inference_worker.store_cache.locks import CacheLock
from inference_worker.store_cache.room import make_room
from inference_worker.store_cache.store_client import StoreClient
from inference_worker.variant_supply import VariantSupply
from shared.errors import DiskFull, PlatformError, VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import STAGING_NAME, ModelStore, write_error
from shared.schemas.models import Manifest
from shared.settings import InferenceSettings

_log = get_logger(__name__)

#: How often a worker looks whether what is cached is still published.
SWEEP_SECONDS = 60.0
#: Between looks at a variant that another worker fetches.
_LOOK_SECONDS = 0.2
#: Progress is told after so long, or where it made so much.
_REPORT_SECONDS, _REPORT_SHARE = 0.5, 0.05


def open_supply(settings: InferenceSettings) -> VariantSupply:
    """Return the supply of the settings: the mounted store, or the cache of a `store` service."""
    if settings.store_url is None:
        return VariantSupply(ModelStore(settings.store_path))
    key = settings.store_key.get_secret_value() if settings.store_key else ""
    client = StoreClient(settings.store_url, key, settings.ca_file)
    return CacheSupply(CachedStore(settings.store_path, client), settings.store_cache_bytes)


class CacheSupply(VariantSupply):
    """No worker of the host removes what another holds; those that want the same wait for the one that fetches it."""

    def __init__(self, store: CachedStore, limit_bytes: int | None = None) -> None:
        """`limit_bytes` of all variants of the cache together; the disk's end where None."""
        super().__init__(store)
        self.files = store.fetched
        self._store = store
        self._limit_bytes = limit_bytes

    async def hold(self, variants: Iterable[str], report: Callable[[float], None]) -> ExitStack:
        """Fetch what is missing; see :class:`VariantSupply`."""
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def tell(share: float) -> None:
            loop.call_soon_threadsafe(report, share)

        try:
            return await asyncio.to_thread(self.hold_now, variants, tell, stop)
        finally:
            stop.set()

    def hold_now(self, variants: Iterable[str], report: Callable[[float], None], stop: Interruption) -> ExitStack:
        """Do what :meth:`hold` does, on this thread. Raises FetchStopped where `stop` came first."""
        with ExitStack() as stack:
            for variant in variants:
                model, _, name = variant.partition(":")
                try:
                    lock = self._hold_one(model, name, _seldom(report), stop)
                except OSError as error:
                    raise _disk_error(error, self._store, variant) from error
                stack.callback(lock.close)
                # What was used until now is used later than what was begun later and ended before.
                stack.callback(lock.note_use)
            return stack.pop_all()

    async def run(self) -> None:
        """Drop what is published no more, until cancelled."""
        while True:
            await asyncio.to_thread(self.sweep)
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self) -> None:
        """Drop what is published no more, or anew, and is not in use; and what an ended process left half removed."""
        for left in (self._store.path / STAGING_NAME).glob("trash_*"):
            shutil.rmtree(left, ignore_errors=True)
        for entry in self._store.entries():
            try:
                published = self._store.manifest(entry.model, entry.variant)
                fetched = self._store.fetched.manifest(entry.model, entry.variant)
            except (PlatformError, OSError):
                continue
            if not is_same(published, fetched):
                self._store.drop(entry.model, entry.variant)

    def _hold_one(self, model: str, variant: str, report: Callable[[float], None], stop: Interruption) -> CacheLock:
        manifest = self._store.manifest(model, variant)
        lock = CacheLock(self._store.path, lock_name(model, variant))
        try:
            while not (lock.try_together() and self._store.has(manifest)):
                lock.leave()
                if lock.try_alone():
                    # What was waited for may be another one by now.
                    manifest = self._store.manifest(model, variant)
                    if not self._store.has(manifest):
                        self._fetch(manifest, report, stop)
                    # From here to sharing the lock somebody could remove it again: hence the loop.
                    lock.note_use()
                    lock.leave()
                    continue
                there = folder_bytes(self._store.partial_dir(model, variant))
                report(there / max(1, sum_bytes(manifest)))
                if stop.wait(_LOOK_SECONDS):
                    raise FetchStopped
            lock.note_use()
        except BaseException:
            lock.close()
            raise
        return lock

    def _fetch(self, manifest: Manifest, report: Callable[[float], None], stop: Interruption) -> None:
        name, began = f"{manifest.model}:{manifest.variant}", time.monotonic()
        with contextlib.suppress(VariantNotPublished):
            # Of an earlier publication, or damaged: nobody uses it, this one has the lock.
            self._store.fetched.delete(manifest.model, manifest.variant)
        try:
            folder = make_room(self._store, manifest, self._limit_bytes)
            _log.info(
                "variant_fetch_begins",
                variant=name,
                total_bytes=sum_bytes(manifest),
                present_bytes=folder_bytes(folder),
                url=self._store.client.url,
            )
            VariantFetch(self._store.client, manifest, folder, report=report, stop=stop).run()
            self._store.finish(manifest)
        except OSError:
            # A disk that is full is not left full of half a variant.
            self._store.remove(manifest.model, manifest.variant)
            raise
        except (VariantNotPublished, VariantCorrupt):
            self._store.remove(manifest.model, manifest.variant)
            raise
        _log.info(
            "variant_fetched",
            variant=name,
            total_bytes=sum_bytes(manifest),
            seconds=round(time.monotonic() - began, 2),
        )


def _seldom(report: Callable[[float], None]) -> Callable[[float], None]:
    told, told_share = 0.0, 0.0

    def tell(share: float) -> None:
        nonlocal told, told_share
        if time.monotonic() - told > _REPORT_SECONDS or abs(share - told_share) > _REPORT_SHARE:
            told, told_share = time.monotonic(), share
            report(min(1.0, share))

    return tell


def _disk_error(error: OSError, store: CachedStore, variant: str) -> PlatformError:
    told = write_error(error, store.path)
    if isinstance(told, DiskFull):
        return DiskFull(
            f"The disk of this worker's cache {store.path} became full while {variant} was fetched. Free some disk, or "
            "limit the cache with OVCHAT_STORE_CACHE_BYTES; then ask again."
        )
    return told
