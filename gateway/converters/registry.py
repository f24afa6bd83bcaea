"""The converters as their registry on the transport Redis tells of them."""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.schemas.converters import CONVERTER_LOST_MS, ConverterInfo


async def living_converters(transport: AsyncRedis) -> list[ConverterInfo]:
    """Return the converters that have said something lately, the largest memory first."""
    raw = cast(list[bytes], await transport.hvals(keys.CONVERTERS))
    now_ms = await redis_now_ms(transport)
    found = [ConverterInfo.model_validate_json(value) for value in raw]
    living = [info for info in found if now_ms - info.seen_ms < CONVERTER_LOST_MS]
    return sorted(living, key=lambda info: (-info.memory_bytes, info.worker_id))
