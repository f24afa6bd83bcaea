"""Sends the converter's Celery tasks by name; the only module of the gateway that knows Celery."""

from __future__ import annotations

import asyncio

from celery import Celery

from shared import keys


class ConversionTasks:
    """The converter worker's tasks, as the gateway may ask for them."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("ovchat", broker=broker_url, set_as_current=False, autofinalize=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            broker_transport_options={"global_keyprefix": keys.CELERY_PREFIX, "socket_connect_timeout": 5},
            task_publish_retry=False,
        )

    async def start(self, conversion_id: str) -> None:
        """Send the first stage of a job."""
        await self._send(
            keys.CONVERSION_QUEUE, keys.TASK_RUN_STAGE, conversion_id=conversion_id, stage="resolve", attempt=1
        )

    async def delete_variant(self, model: str, variant: str, created_at: str) -> None:
        """Ask for a published variant to be deleted; one that was made at another time is left alone."""
        await self._send(
            keys.STORE_QUEUE, keys.TASK_DELETE_VARIANT, model=model, variant=variant, created_at=created_at
        )

    async def run_over_store(self, run_id: str) -> None:
        """Ask for a run over the model store."""
        await self._send(keys.STORE_QUEUE, keys.TASK_STORE_RUN, run_id=run_id)

    async def _send(self, queue: str, task: str, **kwargs: str | int) -> None:
        # Celery's client blocks, so it gets a thread of its own.
        await asyncio.to_thread(self._celery.send_task, task, kwargs=kwargs, queue=queue)

    def close(self) -> None:
        """Close the broker connections."""
        self._celery.close()
