"""A socket is an open file: a gateway takes as many as its host allows, not the 1,024 that many hosts begin with."""

from __future__ import annotations

import resource

#: Far more than one process can serve.
WANTED = 65_536


def raise_open_files() -> int:
    """Raise this process' limit of open files as far as it may and is of use; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
