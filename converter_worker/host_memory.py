"""How much memory the converter's host, or its container, has in all and at this moment."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_PROCESS_CGROUP = Path("/proc/self/cgroup")
#: A version 1 cgroup without a limit shows a number near 2^63.
_NO_LIMIT = 1 << 60


def total_bytes() -> int | None:
    """Return the container's limit, or the host's memory and swap where there is none or it is higher."""
    sizes = _meminfo()
    host = None if sizes is None else sizes["MemTotal"] + sizes.get("SwapTotal", 0)
    limit, _ = _cgroup()
    return min((size for size in (host, limit) if size is not None), default=None)


def available_bytes() -> int | None:
    """Return memory and swap that can be had now, within the container's limit; None where the kernel hides it."""
    sizes = _meminfo()
    host = None if sizes is None else sizes["MemAvailable"] + sizes.get("SwapFree", 0)
    limit, used = _cgroup()
    within = None if limit is None or used is None else max(0, limit - used)
    return min((size for size in (host, within) if size is not None), default=None)


def _meminfo() -> dict[str, int] | None:
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    except (OSError, ValueError, IndexError):
        return None
    return sizes if {"MemTotal", "MemAvailable"} <= sizes.keys() else None


def _cgroup() -> tuple[int | None, int | None]:
    """Return limit and use of this process' cgroup; of version 2 where the kernel has it, else of version 1.

    In use counts without the page cache that the kernel can drop, where it says how much that is.
    """
    for folder, limit_name, used_name, droppable in (
        (_CGROUP, "memory.max", "memory.current", "inactive_file"),
        (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        (_version_1_folder(), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and limit < _NO_LIMIT:
            return limit, None if used is None else max(0, used - _statistic(folder / "memory.stat", droppable))
    return None, None


def _version_1_folder() -> Path:
    """Return where a version 1 hierarchy has this process when the container shows the host's."""
    try:
        lines = _PROCESS_CGROUP.read_text("ascii").splitlines()
    except OSError:
        lines = []
    path = next((line.split(":", 2)[2] for line in lines if line.split(":")[1:2] == ["memory"]), "/")
    return _CGROUP / "memory" / path.lstrip("/")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):  # No such cgroup, or no limit ("max").
        return None


def _statistic(file: Path, name: str) -> int:
    try:
        lines = file.read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
