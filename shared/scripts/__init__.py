"""The Redis scripts: each is one atomic step of a generation's life. ``common.lua`` stands in front of every one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.typing import EncodableT

from shared.redis_client import AsyncRedis, is_demoted, is_full


class Script:
    """A script bound to a client; it is sent to Redis once and called by its digest."""

    def __init__(self, script: AsyncScript) -> None:
        self._script = script

    async def __call__(self, args: Iterable[EncodableT]) -> object:
        """Run it. A Redis that is full or a replica raises what it raises for any other command."""
        try:
            return await self._script(args=args)
        except ResponseError as error:
            if is_full(error):
                raise OutOfMemoryError(str(error)) from error
            if is_demoted(error):
                raise ReadOnlyError(str(error)) from error
            raise


def load_script(client: AsyncRedis, name: str) -> Script:
    """Return a script."""
    folder = files(__name__)
    text = (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(client.register_script(text))
