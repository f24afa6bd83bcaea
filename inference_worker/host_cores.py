"""The CPU cores of a host, shared out to the agents on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from inference_worker.redis_patience import until_answered
from shared.registry import Registry

_CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class CoreShare:
    """Threads of a replica. `alone`: no other agent computes on the same cores, so that threads may stay on theirs."""

    threads: int
    alone: bool


class HostCores:
    """A replica may use every core of its agent's share: an idle one takes none."""

    def __init__(self, registry: Registry, *, host_id: str, fixed: int | None) -> None:
        """`fixed` is the operator's number of threads."""
        self._registry = registry
        self._host_id = host_id
        self._fixed = fixed

    async def share(self) -> CoreShare:
        """What a replica gets that is started now. Waits for Redis."""
        workers = await until_answered("cores", self._registry.workers)
        agents = sum(worker.info.host_id == self._host_id and worker.info.device == "CPU" for worker in workers)
        threads = self._fixed or max(1, usable_cores() // max(1, agents))
        return CoreShare(threads, alone=agents <= 1)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, or the container's limit where that is less."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_CPU_LIMIT.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # No version 2 cgroup, or no limit ("max").
        return cores
