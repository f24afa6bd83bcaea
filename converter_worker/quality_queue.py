"""Which variants wait for a quality card, in which order, and who makes them: the part of it that is in Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from shared import keys
from shared.redis_client import SyncRedis
from shared.schemas.models import Manifest

LEASE_MS = 15_000
#: Look and write in one step: in between the lease may run out, and another converter take it.
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_GIVE_BACK = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


@dataclass(frozen=True)
class Wish:
    """A variant that waits for a card; `is_asked_for` where an admin wants it, maybe anew."""

    manifest: Manifest
    is_asked_for: bool

    @property
    def key(self) -> str:
        """``model:variant``."""
        return f"{self.manifest.model}:{self.manifest.variant}"


class QualityQueue:
    """Of one converter."""

    def __init__(self, redis: SyncRedis, worker_id: str) -> None:
        self._redis = redis
        self._worker_id = worker_id.encode()

    def take(self) -> bool:
        """Take the lease; False where another converter has it."""
        return bool(self._redis.set(keys.QUALITY_LEASE, self._worker_id, px=LEASE_MS, nx=True))

    def renew(self) -> bool:
        """Keep the lease, also one that had run out and nobody took; False where another converter has it now."""
        return bool(self._redis.eval(_RENEW, 1, keys.QUALITY_LEASE, self._worker_id, LEASE_MS)) or self.take()

    def give_back(self) -> None:
        """Let another converter go on, if the lease is this one's."""
        self._redis.eval(_GIVE_BACK, 1, keys.QUALITY_LEASE, self._worker_id)

    def asked(self) -> frozenset[str]:
        """Return the names of the variants whose cards an admin wants."""
        return frozenset(name.decode() for name in cast(set[bytes], self._redis.smembers(keys.QUALITY_WANTED)))

    def wishes(self, published: Sequence[Manifest], *, by_itself: bool) -> list[Wish]:
        """Return who waits: what an admin asked for, then, where cards are made by themselves, what has none.

        Those of one source come one after the other, so that what FP16 says is computed once.
        """
        asked = self.asked()
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
