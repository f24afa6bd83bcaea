"""The one place where generations wait, and the ways out of it: taken by a worker, cancelled, failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import orjson

from shared import keys
from shared.errors import PlatformError
from shared.journal import encode_frame
from shared.redis_client import AsyncRedis
from shared.schemas.generation import GenerationFailed, GenerationRequest
from shared.scripts import load_script

#: Attempts that a generation may lose in a row, without a token from any of them, before it fails with ``worker_lost``.
MAX_ATTEMPTS = 8

#: Why a generation waits again: its worker fell silent, or left by itself; its engine's process died; it was assigned
#: to a replica in the moment in which that went away.
MoveCause = Literal["worker_lost", "worker_left", "replica_lost", "not_ready"]
MigrationType = Literal["new_request", "ongoing_request"]

CancelOutcome = Literal["not_found", "ended", "cancelled", "sent"]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Where a request stands: ``queued`` now, ``exists`` already, or refused as ``overloaded``."""

    outcome: Literal["queued", "exists", "overloaded"]
    position: int


@dataclass(frozen=True, slots=True)
class Move:
    """A way in which a generation came to wait again, before its first frame (``new_request``) or after it."""

    cause: MoveCause
    type: MigrationType


class WaitingQueue:
    """The waiting sets of all variants on the transport Redis."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport
        self._enqueue = load_script(transport, "enqueue")
        self._take = load_script(transport, "take")
        self._cancel = load_script(transport, "cancel")
        self._fail = load_script(transport, "fail")
        self._requeue = load_script(transport, "requeue")

    async def enqueue(
        self, request: GenerationRequest, gateway_id: str, max_waiting: int, *, weight: float = 1.0
    ) -> Enqueued:
        """Let a generation wait in the fair order and the gateway watch it; the same generation id is queued once.

        Args:
            request: what is asked for.
            gateway_id: the gateway that watches.
            max_waiting: most that may wait for the variant.
            weight: the user's share beside other users' shares; above 0.
        """
        outcome, position = cast(
            tuple[bytes, int],
            await self._enqueue(
                args=[
                    request.generation_id,
                    orjson.dumps(request.model_dump()),
                    gateway_id,
                    request.variant_key,
                    request.user,
                    request.chat_id,
                    max_waiting,
                    weight,
                ]
            ),
        )
        return Enqueued(cast(Literal["queued", "exists", "overloaded"], outcome.decode()), position)

    async def take(
        self,
        worker_id: str,
        variant: str,
        released_slots: int = 0,
        most_free_slots: int | None = None,
        *,
        most_assigned: int | None = None,
    ) -> int:
        """Assign waiting heads to a worker's free slots; return how many, or -1 where its replica is not ready.

        Only the worker itself gives slots back, and tells how many can be free at most. A gateway says how many to
        assign at most, so that a burst is spread.
        """
        most = "" if most_free_slots is None else most_free_slots
        limit = "" if most_assigned is None else most_assigned
        return cast(int, await self._take(args=[worker_id, variant, released_slots, most, limit]))

    async def request(self, generation_id: str) -> GenerationRequest | None:
        """Return what a generation asks for; None where it expired."""
        raw = await self._redis.get(keys.generation_request(generation_id))
        return None if raw is None else GenerationRequest.model_validate_json(raw)

    async def position(self, generation_id: str, variant: str) -> int | None:
        """Return how many stand before a generation; None where it does not wait any more."""
        return cast(int | None, await self._redis.zrank(keys.waiting(variant), generation_id))

    async def positions(self, variants: Mapping[str, str]) -> dict[str, int | None]:
        """Return the :meth:`position` of each generation, given its variant, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for generation_id, variant in variants.items():
                pipeline.zrank(keys.waiting(variant), generation_id)
            return dict(zip(variants, cast(list[int | None], await pipeline.execute()), strict=True))

    async def waiting_since(self, variant: str, before_ms: int) -> tuple[str, ...]:
        """Return the generations that began to wait at or before a time of Redis' clock, oldest first."""
        found = await self._redis.zrangebyscore(keys.arrivals(variant), "-inf", before_ms)
        return tuple(generation_id.decode() for generation_id in cast(list[bytes], found))

    async def cancel(self, generation_id: str, user: str) -> CancelOutcome:
        """End a waiting generation as cancelled, or tell its worker to."""
        frame = orjson.dumps(
            {
                "type": "generation.finished",
                "generation_id": generation_id,
                "finish_reason": "cancelled",
                "usage": {"prompt_tokens": 0, "completion_tokens": 0},
            }
        )
        outcome = cast(bytes, await self._cancel(args=[generation_id, user, frame[:-1]]))
        return cast(CancelOutcome, outcome.decode())

    async def fail(self, generation_id: str, error: PlatformError, *, only_waiting: bool = True) -> bool:
        """End a generation with an error from outside its worker; return whether this call ended it."""
        frame = encode_frame(GenerationFailed(generation_id=generation_id, error=error.body()))
        return bool(await self._fail(args=[generation_id, "waiting" if only_waiting else "any", frame]))

    async def requeue(self, worker_id: str, generation_id: str, attempt: int, cause: MoveCause = "replica_lost") -> int:
        """Give an assigned generation back; return its new attempt, 0 if it is not ours any more, -1 if spent."""
        return cast(int, await self._requeue(args=[worker_id, generation_id, attempt, MAX_ATTEMPTS, cause]))

    async def moves(self, generation_id: str) -> dict[Move, int]:
        """Return how often a generation came to wait again, and why."""
        fields = cast(dict[bytes, bytes], await self._redis.hgetall(keys.generation_state(generation_id)))
        moves = {}
        for name, count in fields.items():
            kind, _, rest = name.decode().partition(":")
            if kind == "moved":
                cause, _, migration_type = rest.partition(":")
                moves[Move(cast(MoveCause, cause), cast(MigrationType, migration_type))] = int(count)
        return moves

    async def waiting_variants(self) -> frozenset[str]:
        """Return the ``model:variant`` names that something waits for."""
        return frozenset(name.decode() for name in cast(set[bytes], await self._redis.smembers(keys.WAITING_VARIANTS)))
