"""Reads a worker's stream of assignments and commands."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import ValidationError

from inference_worker.redis_patience import Backoff
from shared import keys
from shared.log import get_logger
from shared.redis_client import AWAY, AsyncRedis
from shared.schemas.workers import WORKER_COMMAND, WorkerCommand
from shared.streams import read_stream

_log = get_logger(__name__)
_READ_COUNT = 256
_BLOCK_MS = 5000


async def read_commands(redis: AsyncRedis, worker_id: str) -> AsyncIterator[WorkerCommand]:
    """Yield every command from the stream's beginning, in order, for ever; entries that were read are deleted.

    `redis` must be a client for blocking reads. A Redis that is away is waited for, and reading goes on after the
    last entry. An entry that is no command is logged and left out: it must not stop the worker.
    """
    stream = keys.worker_stream(worker_id)
    last_id = "0"
    backoff = Backoff("commands")
    while True:
        try:
            entries = await read_stream(redis, stream, last_id, count=_READ_COUNT, block_ms=_BLOCK_MS)
            backoff.succeeded()
        except AWAY as error:
            await backoff.pause(error)
            continue
        for entry_id, fields in entries:
            last_id = entry_id.decode()
            try:
                command = WORKER_COMMAND.validate_json(fields.get(b"c", b""))
            except ValidationError as error:
                _log.error("command_unreadable", entry_id=last_id, problems=error.error_count())
                continue
            yield command
        if not entries:
            continue
        try:
            await redis.xdel(stream, *(entry_id for entry_id, _ in entries))
        except AWAY:
            # Only tidiness is lost: reading goes on after `last_id` either way.
            continue
