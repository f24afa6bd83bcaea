"""Runs over the model store in Redis as the gateway sees them: ask for one, look how far it is."""

from __future__ import annotations

from typing import cast

from gateway.conversion_client import ConversionTasks
from shared import keys
from shared.errors import StoreRunNotFound
from shared.ids import new_id
from shared.redis_client import AsyncRedis
from shared.schemas.store import STORE_RUN_TTL_SECONDS, StoreRun, StoreTask


class StoreRunService:
    """Asks the converter for runs and tells what they found."""

    def __init__(self, state: AsyncRedis, tasks: ConversionTasks) -> None:
        self._redis = state
        self._tasks = tasks

    async def start(self, task: StoreTask, *, free: bool = False, model: str | None = None) -> StoreRun:
        """Ask for a run; it waits until a converter has time."""
        run = StoreRun(run_id=new_id("run"), task=task, free=free, model=model)
        await self._redis.set(keys.store_run(run.run_id), run.model_dump_json(), ex=STORE_RUN_TTL_SECONDS)
        await self._tasks.run_over_store(run.run_id)
        return run

    async def get(self, run_id: str) -> StoreRun:
        """Return a run with what it has found by now.

        Raises:
            StoreRunNotFound: there is none of this id.
        """
        raw = cast(bytes | None, await self._redis.get(keys.store_run(run_id)))
        if raw is None:
            raise StoreRunNotFound(f"There is no run {run_id!r} over the model store.", param="run_id")
        return StoreRun.model_validate_json(raw)
