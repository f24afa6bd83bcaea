"""The Python client over a gateway that is killed and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.client.connection import Connection
from shared.schemas.generation import GenerationDelta, GenerationFinished, GenerationParams
from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY
from tests.helpers.variants import publish_sample_variant

pytestmark = [pytest.mark.connected, pytest.mark.e2e]


async def test_answers_survive_a_gateway_that_is_killed(redis_url: str, tmp_path: Path) -> None:
    """The accident: a gateway dies with a dozen answers on its sockets, and each loses or repeats a piece."""
    pool = Pool(tmp_path, redis_url)
    publish_sample_variant(pool.store_path, redis_url)
    try:
        gateway = await asyncio.to_thread(pool.gateway)
        await asyncio.to_thread(pool.worker)
        params = GenerationParams(max_new_tokens=600, temperature=0)
        async with Connection(gateway.url, ADMIN_KEY) as connection:
            whole = await (await connection.send("sample", "question", params=params)).text()
            answers = [await connection.send("sample", "question", params=params) for _ in range(12)]
            first = [
                await anext(event async for event in answer if event.type == "generation.delta") for answer in answers
            ]
            await asyncio.to_thread(gateway.kill)
            await asyncio.to_thread(gateway.start_ready)
            rest = [[event async for event in answer] for answer in answers]
    finally:
        await asyncio.to_thread(pool.stop)
    for beginning, events in zip(first, rest, strict=True):
        deltas = [event for event in (beginning, *events) if isinstance(event, GenerationDelta)]
        end = events[-1]
        assert isinstance(end, GenerationFinished)
        assert [delta.seq for delta in deltas] == list(range(1, end.seq + 1))
        assert "".join(delta.text for delta in deltas) == whole
