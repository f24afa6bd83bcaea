"""How much memory the host, or the container's share of it, has."""

from __future__ import annotations

from pathlib import Path

_GIB = 1 << 30
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
#: Share of the memory that the KV caches of all replicas may take together; weights and the system need the rest.
_KV_SHARE = 0.25
#: Share of the memory that replicas may take where nothing says how much; the rest is the system's and the gateway's.
_BUDGET_SHARE = 0.8


def total_memory_bytes() -> int:
    """Memory of the host, or the limit of the container where that is less."""
    total = _meminfo_bytes("MemTotal")
    limit = _cgroup_bytes(_CGROUP_LIMIT)
    return total if limit is None else min(total, limit)


def free_memory_bytes() -> int:
    """Memory that can be taken without swapping."""
    available = _meminfo_bytes("MemAvailable")
    limit, used = _cgroup_bytes(_CGROUP_LIMIT), _cgroup_bytes(_CGROUP_USED)
    return available if limit is None or used is None else max(0, min(available, limit - used))


def default_budget_bytes() -> int:
    """What all replicas of the host may take together: the container's limit less its own needs, or a share."""
    return int(total_memory_bytes() * _BUDGET_SHARE)


def memory_host(host_id: str, node: str, *, is_told: bool, limit_file: Path = _CGROUP_LIMIT) -> str:
    """Return the name of those who share this worker's memory: its host's, or its own where it has a limit of its own.

    Args:
        host_id: what all workers of the machine have in common.
        node: what this container is called.
        is_told: the operator says how much the host's workers may take together.
        limit_file: where the container's limit stands.
    """
    limit = _cgroup_bytes(limit_file)
    if is_told or limit is None or limit >= _meminfo_bytes("MemTotal"):
        return host_id
    return f"{host_id}/{node}"


def default_kv_cache_bytes(max_replicas: int) -> int:
    """KV cache of one replica: its share of a quarter of the memory in whole GiB, at least one."""
    share = int(total_memory_bytes() * _KV_SHARE) // max_replicas
    return max(_GIB, share // _GIB * _GIB)


def _meminfo_bytes(field: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


def _cgroup_bytes(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # No version 2 cgroup, or no limit ("max").
        return None
