"""The index of published variants in Redis: a copy, quick to read, of what the store's manifests say."""

import contextlib
from typing import cast

from shared import keys
from shared.errors import VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.redis_client import SyncRedis
from shared.schemas.models import Manifest, VariantRecord

log = get_logger(__name__)


class VariantIndex:
    """Writes the index."""

    def __init__(self, redis: SyncRedis, store: ModelStore) -> None:
        self._redis = redis
        self._store = store

    def rebuild(self) -> int:
        """Make the index say what the manifests say; return how many variants there are.

        A variant that is published meanwhile is not lost: only a name whose manifest is missing is removed, and none
        where nobody ever wrote to the store, because its volume is not mounted.
        """
        known = cast(dict[bytes, bytes], self._redis.hgetall(keys.VARIANTS))
        records = {record.key.encode(): record for record in map(VariantRecord.from_manifest, self._store.manifests())}
        changed = [name for name, record in records.items() if known.get(name) != record.model_dump_json().encode()]
        gone = [name for name in known if name not in records]
        for name in changed:
            model, _, variant = name.decode().partition(":")
            with contextlib.suppress(VariantNotPublished, VariantCorrupt):
                # Read again: its card may have come, or it was deleted.
                self.refresh(self._store.manifest(model, variant))
        if gone and not self._store.is_in_use:
            log.warning("store_not_mounted", store=str(self._store.path), variants=len(gone))
            gone = []
        for name in gone:
            model, _, variant = name.decode().partition(":")
            if self._is_gone(model, variant):
                self.remove(model, variant)
        if changed or gone:
            log.info("variants_indexed", variants=len(records), changed=len(changed), gone=len(gone))
        return len(records)

    def put(self, manifest: Manifest) -> None:
        """Add or replace a variant."""
        record = VariantRecord.from_manifest(manifest)
        self._redis.hset(keys.VARIANTS, record.key, record.model_dump_json())

    def refresh(self, manifest: Manifest) -> None:
        """Put a variant again, unless it was deleted meanwhile."""
        self.put(manifest)
        if self._is_gone(manifest.model, manifest.variant):
            self.remove(manifest.model, manifest.variant)

    def remove(self, model: str, variant: str) -> None:
        """Remove a variant; a model whose default it was, or whose last one, gives up its default.

        Else a conversion that brings the variant back would bring a choice back that nobody remembers.
        """
        name = f"{model}:{variant}"
        names = [raw.decode() for raw in cast(list[bytes], self._redis.hkeys(keys.VARIANTS))]
        is_last = not any(other.startswith(f"{model}:") and other != name for other in names)
        is_default = self._redis.hget(keys.DEFAULT_VARIANTS, model) == variant.encode()
        pipeline = self._redis.pipeline()
        pipeline.hdel(keys.VARIANTS, name)
        pipeline.hdel(keys.QUALITY_ATTEMPTS, name)
        pipeline.srem(keys.QUALITY_WANTED, name)
        if is_last or is_default:
            pipeline.hdel(keys.DEFAULT_VARIANTS, model)
        pipeline.execute()

    def forget(self, model: str, variant: str) -> None:
        """Remove a variant with all that admins wanted of it: its engine's configuration, tunings and placement.

        Only for a variant that was deleted: one whose folder is away for a while keeps them.
        """
        self.remove(model, variant)
        name = f"{model}:{variant}"
        tuned = cast(list[bytes], self._redis.hkeys(keys.TUNINGS))
        tunings = [field for field in tuned if field.startswith(f"{name}|".encode())]
        pipeline = self._redis.pipeline()
        pipeline.hdel(keys.PLACEMENTS, name)
        pipeline.hdel(keys.ENGINE_CONFIGS, name)
        if tunings:
            pipeline.hdel(keys.TUNINGS, *tunings)
        pipeline.execute()

    def _is_gone(self, model: str, variant: str) -> bool:
        """Tell whether there is no manifest; one that cannot be read may be read again, or is for the admin to see."""
        try:
            self._store.manifest(model, variant)
        except VariantNotPublished:
            return True
        except VariantCorrupt:
            return False
        return False
