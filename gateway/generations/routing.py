"""Which worker gets a generation: one pure function over the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.registry import RegisteredWorker


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


def choose_route(variant: str, workers: Sequence[RegisteredWorker]) -> Route:
    """Return where a waiting generation of ``model:variant`` goes.

    The ready replica with the most free slots wins. Where every one is full, a worker that has room for another replica
    loads the variant too. Where it is loaded nowhere, the worker with the fewest replicas loads it, the one with more
    free memory first, if need be in the place of an idle one.
    """
    open_workers = [worker for worker in workers if worker.info.state == "ready"]
    free = [(worker.free_slots[variant], worker) for worker in open_workers if variant in worker.free_slots]
    if free:
        slots, best = max(free, key=lambda pair: (pair[0], pair[1].info.worker_id))
        if slots > 0:
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
        key=lambda worker: (
            len(worker.info.replicas),
            -(worker.info.free_memory_bytes or 0),
            worker.info.worker_id,
        ),
    )
    return Route("load", target.info.worker_id, is_loading=not free)


def _has_room(variant: str, worker: RegisteredWorker) -> bool:
    """Tell whether a worker can load a variant beside what it has."""
    replicas = worker.info.replicas
    return len(replicas) < worker.info.max_replicas and all(replica.key != variant for replica in replicas)
