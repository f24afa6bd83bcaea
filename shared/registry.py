"""The registry of inference workers: who lives, what is loaded, how many slots are free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import orjson

from shared import keys
from shared.errors import WorkerLost
from shared.journal import Attempt
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.schemas.workers import WorkerCommand, WorkerInfo
from shared.scripts import load_script
from shared.waiting_queue import MAX_ATTEMPTS

#: Silence after which a worker counts as lost; the gateways look every half second, so that it is noticed within 5 s.
WORKER_LOST_MS = 4000
#: Seconds between heartbeats.
HEARTBEAT_SECONDS = 1.0


_SPENT = WorkerLost("Too many workers died under this generation. Try again.").body().model_dump_json()


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """A worker as the registry knows it; ``free_slots`` has the ready replicas by ``model:variant``."""

    info: WorkerInfo
    free_slots: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of a lost worker's generations."""

    requeued: tuple[str, ...]
    spent: tuple[str, ...]


class Registry:
    """Reads and writes the registry on the transport Redis."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport
        self._heartbeat = load_script(transport, "heartbeat")
        self._reap = load_script(transport, "reap")
        self._set_slots = load_script(transport, "set_slots")

    async def heartbeat(self, info: WorkerInfo, *, register: bool = False) -> frozenset[str] | None:
        """Say that a worker lives; return the variants that no worker ends by itself.

        None means that the worker was declared lost and must take a new id.
        """
        payload = orjson.dumps(info.model_dump())
        alive, pinned = cast(
            tuple[int, list[bytes]], await self._heartbeat(args=[info.worker_id, payload, int(register)])
        )
        return frozenset(name.decode() for name in pinned) if alive else None

    async def set_slots(self, worker_id: str, variant: str, free: int | None) -> None:
        """Open a ready replica's slots, or close them with None; a worker that was declared lost opens none."""
        if free is None:
            await self._redis.hdel(keys.SLOTS, f"{worker_id}|{variant}")
        else:
            await self._set_slots(args=[worker_id, variant, free])

    async def free_slots(self, worker_id: str, variant: str) -> int | None:
        """Return how many generations may still be assigned to a replica; None where it takes none."""
        told = await self._redis.hget(keys.SLOTS, f"{worker_id}|{variant}")
        return None if told is None else int(told)

    async def send(self, worker_id: str, command: WorkerCommand) -> None:
        """Append a command to a worker's stream."""
        await self._redis.xadd(keys.worker_stream(worker_id), {"c": orjson.dumps(command.model_dump())})

    async def workers(self) -> tuple[RegisteredWorker, ...]:
        """Return the living workers, oldest first."""
        # No transaction: a full Redis would refuse it.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(keys.WORKERS, 0, -1, withscores=True)
            pipeline.hgetall(keys.WORKER_INFO)
            pipeline.hgetall(keys.SLOTS)
            (seconds, microseconds), scores, infos, slots = await pipeline.execute()
        now_ms = seconds * 1000 + microseconds // 1000
        free: dict[str, dict[str, int]] = {}
        for field, count in cast(dict[bytes, bytes], slots).items():
            worker_id, _, variant = field.decode().partition("|")
            free.setdefault(worker_id, {})[variant] = int(count)
        found = [
            RegisteredWorker(
                WorkerInfo.model_validate_json(cast(dict[bytes, bytes], infos)[worker_id]),
                free.get(worker_id.decode(), {}),
            )
            for worker_id, score in cast(list[tuple[bytes, float]], scores)
            if worker_id in infos and now_ms - score < WORKER_LOST_MS
        ]
        return tuple(sorted(found, key=lambda worker: (worker.info.started_ms, worker.info.worker_id)))

    async def assigned(self, worker_id: str) -> frozenset[Attempt]:
        """Return what a worker has to answer: assigned to it and not ended."""
        names = [name.decode() for name in cast(set[bytes], await self._redis.smembers(keys.worker_running(worker_id)))]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hmget(keys.generation_state(name), "attempt", "worker")
            states = cast(list[list[bytes | None]], await pipeline.execute())
        return frozenset(
            Attempt(name, int(attempt))
            for name, (attempt, worker) in zip(names, states, strict=True)
            if attempt is not None and worker == worker_id.encode()
        )

    async def lost_workers(self) -> tuple[str, ...]:
        """Return the ids of the workers that have been silent for too long."""
        oldest = await redis_now_ms(self._redis) - WORKER_LOST_MS
        silent = await self._redis.zrangebyscore(keys.WORKERS, "-inf", oldest)
        return tuple(worker_id.decode() for worker_id in cast(list[bytes], silent))

    async def reap(self, worker_id: str, *, silent_ms: int = WORKER_LOST_MS) -> Reaped | None:
        """Remove a worker and requeue its generations; None where it lives after all. 0 ms: it leaves by itself."""
        outcome, requeued, spent = cast(
            tuple[bytes, list[bytes], list[bytes]], await self._reap(args=[worker_id, silent_ms, MAX_ATTEMPTS, _SPENT])
        )
        if outcome == b"alive":
            return None
        return Reaped(tuple(gid.decode() for gid in requeued), tuple(gid.decode() for gid in spent))
