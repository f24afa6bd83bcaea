"""What admins want loaded whether anybody asks for it or not."""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis
from shared.schemas.models import Placement


class Placements:
    """Placements by ``model:variant`` on the state Redis; none is the same as the default one."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state

    async def all(self) -> dict[str, Placement]:
        """Return every placement that is not the default."""
        raw = cast(dict[bytes, bytes], await self._redis.hgetall(keys.PLACEMENTS))
        return {name.decode(): Placement.model_validate_json(value) for name, value in raw.items()}

    async def set(self, variant: str, placement: Placement) -> None:
        """Want this from now on."""
        if placement == Placement():
            await self._redis.hdel(keys.PLACEMENTS, variant)
        else:
            await self._redis.hset(keys.PLACEMENTS, variant, placement.model_dump_json())
