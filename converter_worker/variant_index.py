"""The index of published variants in Redis: a copy, quick to read, of what the store's manifests say."""

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

        A variant that is published meanwhile is not lost: only a name whose manifest is missing is removed.
        """
        manifests = list(self._store.manifests())
        for manifest in manifests:
            self.put(manifest)
        present = {f"{manifest.model}:{manifest.variant}" for manifest in manifests}
        for raw in cast(list[bytes], self._redis.hkeys(keys.VARIANTS)):
            model, _, variant = raw.decode().partition(":")
            if f"{model}:{variant}" not in present and not self._is_published(model, variant):
                self.remove(model, variant)
        log.info("variants_indexed", variants=len(manifests))
        return len(manifests)

    def put(self, manifest: Manifest) -> None:
        """Add or replace a variant."""
        record = VariantRecord.from_manifest(manifest)
        self._redis.hset(keys.VARIANTS, record.key, record.model_dump_json())

    def refresh(self, manifest: Manifest) -> None:
        """Put a variant again, unless it was deleted meanwhile."""
        self.put(manifest)
        if not self._is_published(manifest.model, manifest.variant):
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

    def _is_published(self, model: str, variant: str) -> bool:
        try:
            self._store.manifest(model, variant)
        except (VariantNotPublished, VariantCorrupt):
            return False
        return True
