"""The end of generations: stores each answer with its provenance, whichever gateway lives to do it."""

from __future__ import annotations

import redis.exceptions
from pydantic import TypeAdapter

from gateway.chats.store import ChatStore
from gateway.health.metrics import GatewayMetrics
from shared import keys
from shared.journal import Journal, JournalEntry
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.chats import Provenance
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationStarted,
    JournalFrame,
)
from shared.streams import claim_idle, read_group
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)

READ_BLOCK_MS = 5000
#: An ended generation that a gateway took but did not store is taken over after this time.
CLAIM_IDLE_MS = 10_000
_FRAME: TypeAdapter[JournalFrame] = TypeAdapter(JournalFrame)


class Finalizer:
    """Reads the stream of ended generations as one of the group of all gateways."""

    def __init__(
        self,
        blocking: AsyncRedis,
        transport: AsyncRedis,
        journal: Journal,
        queue: WaitingQueue,
        chats: ChatStore,
        metrics: GatewayMetrics,
        *,
        gateway_id: str,
        journal_ttl_seconds: int,
    ) -> None:
        self._blocking = blocking
        self._redis = transport
        self._journal = journal
        self._queue = queue
        self._chats = chats
        self._metrics = metrics
        self._gateway_id = gateway_id
        self._journal_ttl_seconds = journal_ttl_seconds

    async def ensure_group(self) -> None:
        """Create the group at the stream's beginning, so that what ended before this gateway is stored too."""
        try:
            await self._redis.xgroup_create(keys.FINISHED, keys.FINALIZERS, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read(self) -> None:
        """Store the next ended generations."""
        try:
            entries = await read_group(
                self._blocking, keys.FINISHED, keys.FINALIZERS, self._gateway_id, count=100, block_ms=READ_BLOCK_MS
            )
        except redis.exceptions.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.ensure_group()
            return
        for entry_id, fields in entries:
            await self._store(entry_id, fields)

    async def claim(self) -> None:
        """Store what another gateway took and did not finish."""
        try:
            entries = await claim_idle(
                self._redis, keys.FINISHED, keys.FINALIZERS, self._gateway_id, idle_ms=CLAIM_IDLE_MS, count=100
            )
        except redis.exceptions.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.ensure_group()
            return
        for entry_id, fields in entries:
            await self._store(entry_id, fields)

    async def _store(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        generation_id = fields[b"g"].decode()
        request = await self._queue.request(generation_id)
        entries = await self._journal.read(generation_id)
        if request is not None and entries:
            await self._store_answer(request.chat_id, generation_id, entries)
            await self._journal.expire(generation_id, self._journal_ttl_seconds)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(keys.FINISHED, keys.FINALIZERS, entry_id)
            pipeline.xdel(keys.FINISHED, entry_id)
            await pipeline.execute()

    async def _store_answer(self, chat_id: str, generation_id: str, entries: tuple[JournalEntry, ...]) -> None:
        changes: dict[str, object] = {}
        frames = [_FRAME.validate_json(entry.frame) for entry in entries if entry.frame]
        started = next((frame for frame in frames if isinstance(frame, GenerationStarted)), None)
        text = [frame.text for frame in frames if isinstance(frame, GenerationDelta) and frame.channel == "answer"]
        end = frames[-1]
        if isinstance(end, GenerationFinished):
            changes |= {"status": "done", "finish_reason": end.finish_reason}
            self._metrics.generation_finished(end, started)
        elif isinstance(end, GenerationFailed):
            changes |= {"status": "failed", "error": end.error}
            self._metrics.generation_failed(end, started)
        changes["content"] = "".join(text)
        message = await self._chats.find_message(chat_id, generation_id)
        if message is not None and message.provenance is not None:
            finished = end if isinstance(end, GenerationFinished) else None
            changes["provenance"] = Provenance(
                model=message.provenance.model,
                variant=message.provenance.variant,
                device=started.device if started else None,
                worker_id=started.worker_id if started else None,
                params=message.provenance.params,
                usage=finished.usage if finished else None,
                timings=finished.timings if finished else None,
            )
            await self._chats.replace_message(chat_id, message.model_copy(update=changes))
        _log.info("generation_ended", generation_id=generation_id, kind=entries[-1].kind)
