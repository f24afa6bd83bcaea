"""Which variants wait for a quality card, in which order, and who makes them: the part of it that is in Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from converter_worker.reference_shelf import Label
from shared import keys
from shared.redis_client import SyncRedis
from shared.schemas.models import Manifest

LEASE_MS = 15_000


@dataclass(frozen=True)
class Wish:
    """A variant that waits for a card; `is_asked_for` where an admin wants it, maybe anew."""

    manifest: Manifest
    is_asked_for: bool

    @property
    def key(self) -> str:
        """``model:variant``."""
        return f"{self.manifest.model}:{self.manifest.variant}"

    @property
    def label(self) -> Label:
        """What it is compared with."""
        return Label.of(self.manifest)


class QualityQueue:
    """Of one converter."""

    def __init__(self, redis: SyncRedis, worker_id: str) -> None:
        self._redis = redis
        self._worker_id = worker_id.encode()

    def take(self) -> bool:
        """Take the lease; False where another converter has it."""
        return bool(self._redis.set(keys.QUALITY_LEASE, self._worker_id, px=LEASE_MS, nx=True))

    def renew(self) -> bool:
        """Keep the lease if it is this converter's; False where another has it now."""
        holder = self._redis.get(keys.QUALITY_LEASE)
        if holder == self._worker_id:
            self._redis.pexpire(keys.QUALITY_LEASE, LEASE_MS)
        return holder in (None, self._worker_id)

    def give_back(self) -> None:
        """Let another converter go on."""
        if self._redis.get(keys.QUALITY_LEASE) == self._worker_id:
            self._redis.delete(keys.QUALITY_LEASE)

    def is_taken(self) -> bool:
        """Tell whether some converter makes cards."""
        return bool(self._redis.exists(keys.QUALITY_LEASE))

    def wishes(self, published: Sequence[Manifest], *, by_itself: bool) -> list[Wish]:
        """Return who waits: what an admin asked for, then, where cards are made by themselves, what has none.

        Those of one source come one after the other, so that what FP16 says is computed once.
        """
        asked = {name.decode() for name in cast(set[bytes], self._redis.smembers(keys.QUALITY_WANTED))}
        wishes = [Wish(manifest, f"{manifest.model}:{manifest.variant}" in asked) for manifest in published]
        return sorted(
            (
                wish
                for wish in wishes
                if wish.is_asked_for
                or (by_itself and wish.manifest.quality is None and wish.manifest.quality_problem is None)
            ),
            key=lambda wish: (not wish.is_asked_for, wish.manifest.model, wish.manifest.source_model),
        )

    def begin(self, wish: Wish) -> int:
        """Count an attempt before it is made, so that one that ends this process counts; return its number."""
        return self._redis.hincrby(keys.QUALITY_ATTEMPTS, wish.key, 1)

    def put_back(self, wish: Wish) -> None:
        """Forget an attempt that was interrupted."""
        self._redis.hincrby(keys.QUALITY_ATTEMPTS, wish.key, -1)

    def end(self, wish: Wish) -> None:
        """Forget a variant."""
        pipeline = self._redis.pipeline()
        pipeline.hdel(keys.QUALITY_ATTEMPTS, wish.key)
        pipeline.srem(keys.QUALITY_WANTED, wish.key)
        pipeline.execute()
