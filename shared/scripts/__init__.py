"""The Redis scripts: each is one atomic step of a generation's life. ``common.lua`` stands in front of every one."""

from __future__ import annotations

from importlib.resources import files

from redis.commands.core import AsyncScript

from shared.redis_client import AsyncRedis


def load_script(client: AsyncRedis, name: str) -> AsyncScript:
    """Return a script bound to a client; it is sent to Redis once and called by its digest."""
    folder = files(__name__)
    text = (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return client.register_script(text)
