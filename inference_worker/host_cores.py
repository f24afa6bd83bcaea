"""The CPU cores of a host, shared out to the agents on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from inference_worker.redis_patience import until_answered
from shared.registry import Registry
from shared.schemas.workers import WorkerInfo
from shared.settings import InferenceSettings

_CGROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class CoreShare:
    """Threads of a replica. `alone`: no other agent computes on the same cores, so that threads may stay on theirs.

    `cores` are those that the replica is held to; none where it may run on all.
    """

    threads: int
    alone: bool
    cores: tuple[int, ...] = ()


class HostCores:
    """A replica may use every core of its agent's share: an idle one takes none."""

    def __init__(self, registry: Registry, settings: InferenceSettings, *, describe: Callable[[], WorkerInfo]) -> None:
        """`describe` tells of this worker what it registers."""
        self._registry = registry
        self._settings = settings
        self._describe = describe

    async def share(self) -> CoreShare:
        """What a replica gets that is started now. Waits for Redis."""
        own = self._describe()
        workers = await until_answered("cores", self._registry.workers)
        share = share_of(own, [worker.info for worker in workers], quota=cpu_quota())
        threads = self._settings.inference_threads or share.threads
        cores = share.cores if self._settings.cpu_pinning == "share" else ()
        return CoreShare(threads, share.alone, cores)


def share_of(own: WorkerInfo, workers: Sequence[WorkerInfo], *, quota: int | None) -> CoreShare:
    """Return a worker's part of the cores that it shares with the host's other CPU workers, oldest first.

    A worker with other cores was given a cpuset of its own and shares nothing. One that drains takes no new work. The
    quota is the container's, so only workers of the same one share it.

    Args:
        own: the worker whose share is asked for.
        workers: the living ones, in the same order for all who ask.
        quota: cores that the container may use in all; None where it has no limit.
    """
    if own.device != "CPU":
        return CoreShare(len(own.cores), alone=True)
    sharing = [
        worker
        for worker in workers
        if worker.worker_id == own.worker_id
        or (
            worker.host_id == own.host_id
            and worker.device == "CPU"
            and worker.state != "draining"
            # A worker of an earlier version does not tell its cores.
            and worker.cores in (own.cores, ())
        )
    ]
    ids = [worker.worker_id for worker in sharing]
    if own.worker_id not in ids:
        # It registers at this moment, as the youngest.
        sharing, ids = [*sharing, own], [*ids, own.worker_id]
    part = divide_cores(own.cores, len(ids))[ids.index(own.worker_id)]
    threads = len(part)
    if quota is not None:
        threads = max(1, min(threads, quota // sum(worker.node == own.node for worker in sharing)))
    # Two workers on one core fight the least when the kernel may move them.
    held = 1 < len(ids) <= len(own.cores)
    return CoreShare(threads, alone=len(ids) == 1, cores=part if held else ())


def divide_cores(cores: Sequence[int], workers: int) -> tuple[tuple[int, ...], ...]:
    """Return a part for each worker: disjoint, of sizes that differ by one at most, together all cores.

    Where there are more workers than cores, each has one core, which some share.
    """
    if workers > len(cores):
        return tuple((cores[number % len(cores)],) for number in range(workers))
    bounds = (len(cores) * number // workers for number in range(workers + 1))
    return tuple(tuple(cores[begin:end]) for begin, end in pairwise(bounds))


def usable_cores(cpus: Path = _CPUS) -> tuple[int, ...]:
    """Return the cores that this process may run on, hardware threads of one core beside each other."""

    def place(cpu: int) -> tuple[int, int, int]:
        topology = cpus / f"cpu{cpu}" / "topology"
        try:
            package, core = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
        except (OSError, ValueError):  # Not told on every virtual machine.
            return 0, cpu, cpu
        return package, core, cpu

    return tuple(sorted(os.sched_getaffinity(0), key=place))


def usable_threads() -> int:
    """Return how many threads find a core: the process's cores, or the container's limit where that is less."""
    return min(len(os.sched_getaffinity(0)), cpu_quota() or os.cpu_count() or 1)


def cpu_quota(cgroups: Path = _CGROUPS) -> int | None:
    """Return how many cores' time the container may use, at least 1; None where it has no limit."""
    try:
        if (limit := cgroups / "cpu.max").exists():
            quota, period = limit.read_text().split()
        else:  # Version 1.
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(1, round(int(quota) / int(period))) if int(quota) > 0 else None
    except (OSError, ValueError):  # No cgroups to be seen, or no limit ("max").
        return None
