"""Which worker gets a generation: one pure function over the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.registry import RegisteredWorker

#: A cached beginning is worth this much of a replica's slots: beyond it the shorter batch is the faster one.
FAMILIAR_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Route:
    """What to do for a variant that is waited for.

    Attributes:
        action: ``assign`` to a ready replica with a free slot; ``wait``, because every ready replica is full or one is
            loading; ``load`` the variant on a worker, and wait for it; ``nowhere``, because no worker can.
        worker_id: of ``assign`` and ``load``.
        load_progress: of a replica that is loading, where it tells.
    """

    action: Literal["assign", "wait", "load", "nowhere"]
    worker_id: str | None = None
    is_loading: bool = False
    load_progress: float | None = None


def choose_route(variant: str, workers: Sequence[RegisteredWorker], *, familiar: str | None = None) -> Route:
    """Return where a waiting generation of ``model:variant`` goes.

    The ready replica with the largest free share of its slots wins, unless the ``familiar`` worker, which may have the
    conversation's beginning in its cache, is not much fuller. Where every one is full, a worker that has room for
    another replica loads the variant too. Where it is loaded nowhere, the worker with the fewest replicas loads it, the
    one with more free memory first, if need be in the place of an idle one.
    """
    open_workers = [worker for worker in workers if worker.info.state == "ready"]
    free = [worker for worker in open_workers if variant in worker.free_slots]
    takers = [worker for worker in free if worker.free_slots[variant] > 0]
    if takers:
        best = max(takers, key=lambda worker: _emptiness(variant, worker))
        for worker in takers:
            near = _free_share(variant, worker) + FAMILIAR_SHARE >= _free_share(variant, best)
            if worker.info.worker_id == familiar and near:
                best = worker
        return Route("assign", best.info.worker_id)
    loading = [
        replica
        for worker in open_workers
        for replica in worker.info.replicas
        if replica.key == variant and replica.state == "loading"
    ]
    if loading:
        return Route("wait", is_loading=not free, load_progress=loading[0].load_progress)
    if not open_workers:
        return Route("nowhere")
    candidates = open_workers
    if free:
        candidates = [worker for worker in open_workers if _has_room(variant, worker)]
        if not candidates:
            return Route("wait")
    target = min(
        candidates,
        key=lambda worker: _load_order(worker, workers),
    )
    return Route("load", target.info.worker_id, is_loading=not free)


def choose_hosts(variant: str, workers: Sequence[RegisteredWorker], replicas: int) -> tuple[str, ...]:
    """Return the workers that have to load ``model:variant`` so that so many have it; fewer where there are fewer."""
    open_workers = [worker for worker in workers if worker.info.state == "ready"]
    have = [worker for worker in open_workers if any(replica.key == variant for replica in worker.info.replicas)]
    others = sorted(
        (worker for worker in open_workers if worker not in have),
        key=lambda worker: _load_order(worker, workers),
    )
    return tuple(worker.info.worker_id for worker in others[: max(0, replicas - len(have))])


def _free_share(variant: str, worker: RegisteredWorker) -> float:
    """Return the free share of a replica's slots, from 0 to 1."""
    free = worker.free_slots[variant]
    slots = next((replica.slots for replica in worker.info.replicas if replica.key == variant), 0)
    return free / max(1, slots, free)


def _emptiness(variant: str, worker: RegisteredWorker) -> tuple[float, int, str]:
    return _free_share(variant, worker), worker.free_slots[variant], worker.info.worker_id


def _load_order(worker: RegisteredWorker, workers: Sequence[RegisteredWorker]) -> tuple[int, int, str]:
    """Return what sorts first the worker that shall load a variant: few replicas, then much memory left."""
    return len(worker.info.replicas), -_free_budget_bytes(worker, workers), worker.info.worker_id


def _free_budget_bytes(worker: RegisteredWorker, workers: Sequence[RegisteredWorker]) -> int:
    """Return what is left of the budget of a worker's host."""
    if worker.info.memory_budget_bytes is None:
        return worker.info.free_memory_bytes or 0
    host = worker.info.host_id
    reserved = sum(other.info.memory_reserved_bytes for other in workers if other.info.host_id == host)
    return worker.info.memory_budget_bytes - reserved


def _has_room(variant: str, worker: RegisteredWorker) -> bool:
    """Tell whether a worker can load a variant beside what it has."""
    replicas = worker.info.replicas
    return len(replicas) < worker.info.max_replicas and all(replica.key != variant for replica in replicas)
