"""The one place where Redis clients are made."""

from __future__ import annotations

from typing import Any, cast

import redis
import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import RedisSSLContext
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.gathering_redis import GatheringRedis

#: Seconds to wait for a connection.
CONNECT_TIMEOUT_SECONDS = 5.0
#: Seconds to wait for an answer to an ordinary command. Blocking reads use a client without this limit, because a
#: read that times out on an idle bus looks like an end of the stream.
ANSWER_TIMEOUT_SECONDS = 10.0
#: Commands of one client that are under way at once; further ones wait for a connection. A burst of a thousand chats
#: would open as many otherwise, and gain nothing by it: Redis works on one command at a time.
MOST_CONNECTIONS = 64
#: A blocking read keeps its connection for as long as somebody follows something.
MOST_BLOCKING_CONNECTIONS = 10_000


class _PooledTlsConnection(redis.asyncio.SSLConnection):
    """A connection that checks certificates by what its pool's first one has read: each read of them takes 40 ms."""

    def __init__(self, *, contexts: list[RedisSSLContext], **options: Any) -> None:
        super().__init__(**options)
        contexts.append(self.ssl_context)
        del contexts[1:]
        self.ssl_context = contexts[0]


AsyncRedis = redis.asyncio.Redis
SyncRedis = redis.Redis

#: What a Redis raises that is away, starting, changing roles, or full. It passes, and the same may be asked again;
#: other errors are ours. A time limit of ours is an ``OSError`` too.
AWAY = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    OSError,
)


def is_full(error: BaseException) -> bool:
    """Tell whether Redis has reached its memory limit; a script that it stopped has this in its error's text only."""
    return isinstance(error, redis.exceptions.ResponseError) and "command not allowed when used memory" in str(error)


def is_demoted(error: BaseException) -> bool:
    """Tell whether Redis has become a replica. One of a read that it broke off, or of a script, is of no own kind."""
    return isinstance(error, redis.exceptions.ResponseError) and (
        str(error).startswith("UNBLOCKED") or "READONLY You can't write" in str(error)
    )


def create_redis(process_name: str, url: str, *, blocking: bool = False, once: bool = False) -> AsyncRedis:
    """Return an asyncio client that names itself in ``CLIENT LIST``; nothing connects yet.

    Args:
        process_name: such as ``gateway-3f2a``.
        url: ``redis://`` or ``rediss://`` address.
        blocking: for a client that waits in ``XREAD BLOCK``: no retry, and no answer time limit but that of its reads.
        once: for a client whose caller knows what to do where an answer does not come: no retry.
    """
    is_plain = not (blocking or once)
    retry = AsyncRetry(ExponentialBackoff(cap=0.5, base=0.05), 3 if is_plain else 0)
    common = {
        "client_name": process_name,
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "retry": retry,
        "socket_timeout": None if blocking else ANSWER_TIMEOUT_SECONDS,
    }
    pool: redis.asyncio.ConnectionPool
    if is_plain:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=MOST_CONNECTIONS, timeout=ANSWER_TIMEOUT_SECONDS, **common
        )
    else:
        pool = redis.asyncio.ConnectionPool.from_url(url, max_connections=MOST_BLOCKING_CONNECTIONS, **common)
    if issubclass(pool.connection_class, redis.asyncio.SSLConnection):
        pool.connection_class = _PooledTlsConnection
        pool.connection_kwargs["contexts"] = []
    if is_plain:
        return GatheringRedis.from_pool(pool)
    return redis.asyncio.Redis.from_pool(pool)


def create_sync_redis(process_name: str, url: str, *, retries: int = 3) -> SyncRedis:
    """Return a blocking client for the converter's threads; nothing connects yet."""
    return redis.Redis.from_url(
        url,
        client_name=process_name,
        protocol=2,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=ANSWER_TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
    )


async def redis_now_ms(client: AsyncRedis) -> int:
    """Return Redis' clock in ms, the only clock that is compared between machines."""
    seconds, microseconds = await client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def get_text(client: AsyncRedis, key: str) -> str | None:
    """Return a string key's text; None where it does not exist."""
    value = cast(bytes | None, await client.get(key))
    return None if value is None else value.decode()
