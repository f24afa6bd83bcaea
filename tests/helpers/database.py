"""All that a Redis database holds, as text."""

from collections.abc import Callable
from typing import cast

import redis


def everything_in(database: redis.Redis) -> dict[str, str]:
    """Return each key with all that is in it, whatever its type."""
    readers: dict[bytes, Callable[[bytes], object]] = {
        b"string": database.get,
        b"hash": database.hgetall,
        b"set": database.smembers,
        b"zset": lambda name: database.zrange(name, 0, -1, withscores=True),
        b"stream": database.xrange,
        b"list": lambda name: database.lrange(name, 0, -1),
    }
    found = {}
    for name in cast(list[bytes], database.keys("*")):
        kind = cast(bytes, database.type(name))
        if kind in readers:
            found[name.decode()] = repr(readers[kind](name))
    return found
