"""Reads a worker's stream of assignments and commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from pydantic import ValidationError

from inference_worker.redis_patience import Backoff
from shared import keys
from shared.log import get_logger
from shared.redis_client import AWAY, AsyncRedis
from shared.schemas.workers import WORKER_COMMAND, WorkerCommand

_log = get_logger(__name__)
_READ_COUNT = 256
#: A read blocks this long at most, and one without any answer in the longer time has a half-open connection.
_BLOCK_MS = 5000
_READ_LIMIT_SECONDS = 10.0
_Entry = tuple[bytes, dict[bytes, bytes]]


async def read_commands(redis: AsyncRedis, worker_id: str) -> AsyncIterator[WorkerCommand]:
    """Yield every command from the stream's beginning, in order, for ever; entries that were read are deleted.

    `redis` must be a client for blocking reads. A Redis that is away is waited for, and reading goes on after the
    last entry. An entry that is no command is logged and left out: it must not stop the worker.
    """
    stream = keys.worker_stream(worker_id)
    last_id: bytes | str = "0"
    backoff = Backoff("commands")
    while True:
        try:
            async with asyncio.timeout(_READ_LIMIT_SECONDS):
                answer = await redis.xread({stream: last_id}, count=_READ_COUNT, block=_BLOCK_MS)
            backoff.succeeded()
        except AWAY as error:
            await backoff.pause(error)
            continue
        for _stream, entries in cast(list[tuple[bytes, list[_Entry]]], answer):
            for entry_id, fields in entries:
                last_id = entry_id
                try:
                    command = WORKER_COMMAND.validate_json(fields.get(b"c", b""))
                except ValidationError as error:
                    _log.error("command_unreadable", entry_id=entry_id.decode(), problems=error.error_count())
                    continue
                yield command
            try:
                await redis.xdel(stream, *(entry_id for entry_id, _ in entries))
            except AWAY:
                # Only tidiness is lost: reading goes on after `last_id` either way.
                continue
