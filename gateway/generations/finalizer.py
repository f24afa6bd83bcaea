"""The end of generations: stores each answer with its provenance, whichever gateway lives to do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

import redis.exceptions
from pydantic import TypeAdapter
from structlog.contextvars import bound_contextvars

from gateway.chats.store import ChatStore
from gateway.generations.tracing import GenerationTraces
from gateway.health.metrics import GatewayMetrics
from gateway.usage.store import UsageStore
from shared import keys
from shared.errors import WorkerLost
from shared.journal import Journal, JournalEntry
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.generation import (
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationStarted,
    JournalFrame,
)
from shared.streams import StreamEntry, claim_idle, read_group
from shared.waiting_queue import WaitingQueue

_log = get_logger(__name__)

READ_BLOCK_MS = 5000
#: An ended generation that a gateway took but did not store is taken over after this time.
CLAIM_IDLE_MS = 10_000
#: An answer that is stored as running but known to no queue or worker counts as lost after this time.
UNQUEUED_MS = 60_000
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
        usage: UsageStore,
        metrics: GatewayMetrics,
        traces: GenerationTraces,
        *,
        gateway_id: str,
        journal_ttl_seconds: int,
    ) -> None:
        self._blocking = blocking
        self._redis = transport
        self._journal = journal
        self._queue = queue
        self._chats = chats
        self._usage = usage
        self._metrics = metrics
        self._traces = traces
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
        await self._store_all(
            read_group(
                self._blocking, keys.FINISHED, keys.FINALIZERS, self._gateway_id, count=100, block_ms=READ_BLOCK_MS
            )
        )

    async def claim(self) -> None:
        """Store what another gateway took and did not finish."""
        await self._store_all(
            claim_idle(self._redis, keys.FINISHED, keys.FINALIZERS, self._gateway_id, idle_ms=CLAIM_IDLE_MS, count=100)
        )

    async def _store_all(self, reading: Awaitable[list[StreamEntry]]) -> None:
        try:
            entries = await reading
        except redis.exceptions.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # The first reading of a new Redis finds no group: made now, it is read by the next one.
            await self.ensure_group()
            return
        # All at once: answers that were computed together end together, and their calls go in the same round trips.
        outcomes = await asyncio.gather(
            *(self._store_logged(entry_id, fields[b"g"].decode()) for entry_id, fields in entries),
            return_exceptions=True,
        )
        for failure in filter(None, outcomes):
            raise failure

    async def settle(self, chat_id: str, generation_id: str) -> bool:
        """Store an answer now, because somebody needs it before the stream tells; False where it still runs."""
        status = cast(bytes | None, await self._redis.hget(keys.generation_state(generation_id), "status"))
        if status is None:
            message = await self._chats.find_message(chat_id, generation_id)
            # It may be between being stored and being queued; after a while it was lost there.
            if message is not None and time.time() * 1000 - message.created_ms < UNQUEUED_MS:
                return False
        elif status != b"ended":
            return False
        ended = _Ended.of(await self._journal.read(generation_id))
        await self._store_answer(chat_id, generation_id, ended)
        return True

    async def _store_logged(self, entry_id: bytes, generation_id: str) -> None:
        with bound_contextvars(generation_id=generation_id):
            await self._store(entry_id, generation_id)

    async def _store(self, entry_id: bytes, generation_id: str) -> None:
        since_ns = time.time_ns()
        request = await self._queue.request(generation_id)
        ended = _Ended.of(await self._journal.read(generation_id))
        if request is not None and ended.end is not None:
            await self._store_answer(request.chat_id, generation_id, ended)
            counted = await self._usage.count_generation(
                generation_id,
                request.user,
                prompt_tokens=ended.started.prompt_tokens if ended.started and request.choice == 0 else 0,
                completion_tokens=ended.tokens,
                cached_tokens=ended.cached_tokens if request.choice == 0 else None,
            )
            # Not before it is counted: what is neither reserved nor counted could be used a second time.
            await self._redis.hdel(keys.reserved_tokens(request.user), generation_id)
            if counted:
                moves = await self._queue.moves(generation_id)
                self._metrics.generation_ended(
                    request.variant_key, ended.end, ended.started, generated_tokens=ended.tokens, moves=moves
                )
                self._traces.stored(
                    request,
                    ended.end,
                    prompt_tokens=ended.started.prompt_tokens if ended.started else 0,
                    generated_tokens=ended.tokens,
                    attempts=1 + sum(moves.values()),
                    since_ns=since_ns,
                )
            await self._journal.expire(generation_id, self._journal_ttl_seconds)
            _log.info(
                "generation_ended",
                variant=request.variant_key,
                end=ended.end.error.code if isinstance(ended.end, GenerationFailed) else ended.end.finish_reason,
                tokens=ended.tokens,
            )
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(keys.FINISHED, keys.FINALIZERS, entry_id)
            pipeline.xdel(keys.FINISHED, entry_id)
            await pipeline.execute()

    async def _store_answer(self, chat_id: str, generation_id: str, ended: _Ended) -> None:
        message = await self._chats.find_message(chat_id, generation_id)
        if message is None or message.status != "running":
            return
        finished = ended.end if isinstance(ended.end, GenerationFinished) else None
        changes: dict[str, object] = {"content": ended.text, "status": "done" if finished else "failed"}
        if finished is not None:
            changes["finish_reason"] = finished.finish_reason
        elif isinstance(ended.end, GenerationFailed):
            changes["error"] = ended.end.error
        else:
            changes["error"] = WorkerLost("The answer was lost before it ended.").body()
        if message.provenance is not None:
            changes["provenance"] = message.provenance.model_copy(
                update={
                    "device": ended.started.device if ended.started else None,
                    "worker_id": ended.started.worker_id if ended.started else None,
                    "usage": finished.usage if finished else None,
                    "timings": finished.timings if finished else None,
                }
            )
        await self._chats.replace_message(chat_id, message.model_copy(update=changes))


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a journal says of its generation."""

    text: str
    started: GenerationStarted | None
    end: GenerationFinished | GenerationFailed | None
    tokens: int

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens that were not computed again, where the engine told it."""
        return self.end.usage.cached_tokens if isinstance(self.end, GenerationFinished) else None

    @classmethod
    def of(cls, entries: tuple[JournalEntry, ...]) -> _Ended:
        frames = [_FRAME.validate_json(entry.frame) for entry in entries if entry.frame]
        end = next((f for f in frames if isinstance(f, GenerationFinished | GenerationFailed)), None)
        return cls(
            text="".join(f.text for f in frames if isinstance(f, GenerationDelta) and f.channel == "answer"),
            started=next((f for f in frames if isinstance(f, GenerationStarted)), None),
            end=end,
            tokens=end.usage.completion_tokens
            if isinstance(end, GenerationFinished)
            else sum(len(entry.token_ids) for entry in entries),
        )
