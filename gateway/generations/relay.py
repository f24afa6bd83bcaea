"""The live way of a generation's frames: from the gateway's inbox stream to whoever listens here.

A subscription sees every frame of its generation once and in order. Frames are numbered without a gap (``n``), so a
gap or a restart of the stream is noticed and filled from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis.exceptions

from shared import keys
from shared.errors import JournalExpired, PlatformError, WorkerLost
from shared.journal import Journal, JournalEntry, encode_frame
from shared.log import get_logger
from shared.redis_client import AWAY, AsyncRedis, redis_now_ms
from shared.schemas.generation import GenerationFailed
from shared.streams import read_stream

_log = get_logger(__name__)

#: Milliseconds that one read of the inbox waits.
READ_BLOCK_MS = 5000
#: Entries that one read takes.
READ_COUNT = 500
#: Seconds after which the inbox of a gateway that was killed is gone, whether or not another one lives to see it.
INBOX_SECONDS = 60
#: A heartbeat that comes this long after the one before, by Redis' clock, may have missed frames: sooner than a silent
#: gateway counts as lost, and than its inbox is gone.
SILENT_MS = 10_000
#: How every frame that ends a generation begins; the writers put ``type`` first.
_TERMINAL_PREFIX = b'{"type":"generation.f'

Deliver = Callable[[bytes], None]


def is_terminal(frame: bytes) -> bool:
    """Tell whether a frame ends its generation, without parsing it."""
    return frame.startswith(_TERMINAL_PREFIX)


class Subscription:
    """One listener of one generation."""

    def __init__(self, generation_id: str, deliver: Deliver, after_seq: int) -> None:
        self.generation_id = generation_id
        self.next_n = 1
        self.ended = False
        self.syncing = True
        self._deliver = deliver
        self._after_seq = after_seq
        self._early: dict[int, bytes] = {}

    def offer(self, n: int, frame: bytes) -> bool:
        """Take a live frame; return True where frames before it are missing."""
        if n < self.next_n or self.ended:
            return False
        self._early[n] = frame
        self._pass_on()
        return bool(self._early) and not self.syncing

    def offer_entry(self, entry: JournalEntry) -> None:
        """Take an entry of the journal; deltas that the client has already are counted but not passed on."""
        if not entry.frame or entry.n < self.next_n or self.ended:
            return
        had_it = entry.kind == "delta" and entry.seq <= self._after_seq
        self._early[entry.n] = b"" if had_it else entry.frame
        self._pass_on()

    def fail(self, error: PlatformError) -> None:
        """Deliver an end that no journal has."""
        self.ended = True
        self._early.clear()
        self._deliver(encode_frame(GenerationFailed(generation_id=self.generation_id, error=error.body())))

    def _pass_on(self) -> None:
        while (frame := self._early.pop(self.next_n, None)) is not None:
            self.next_n += 1
            if frame:
                self._deliver(frame)
                if is_terminal(frame):
                    self.ended = True
                    self._early.clear()
                    return


class Relay:
    """Reads one inbox stream and hands its frames to the subscriptions of this process."""

    def __init__(self, blocking: AsyncRedis, transport: AsyncRedis, journal: Journal, gateway_id: str) -> None:
        self._blocking = blocking
        self._redis = transport
        self._journal = journal
        self._gateway_id = gateway_id
        self._last_id = "0"
        self._heartbeat_ms = 0
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._syncs: set[asyncio.Task[None]] = set()
        self._unwatching: dict[str, asyncio.Task[None]] = {}
        self._was_away = False
        self.delivered_frames = 0

    async def subscribe(self, generation_id: str, deliver: Deliver, *, after_seq: int = 0) -> Subscription:
        """Follow a generation from after delta ``after_seq``: what is journaled, then what comes.

        Raises:
            JournalExpired: there is no journal of it any more.
        """
        subscription = Subscription(generation_id, deliver, after_seq)
        self._subscriptions.setdefault(generation_id, []).append(subscription)
        try:
            # What was begun for the last listener must not be done to this one.
            if (ending := self._unwatching.get(generation_id)) is not None:
                await asyncio.wait({ending})
            await self._sync(subscription)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop following; the generation goes on."""
        generation_id = subscription.generation_id
        listeners = self._subscriptions.get(generation_id, [])
        if subscription in listeners:
            listeners.remove(subscription)
        if listeners or self._subscriptions.pop(generation_id, None) is None or subscription.ended:
            return
        # Who waits for one that is under way has not begun to watch.
        if generation_id not in self._unwatching:
            task = self._unwatching[generation_id] = asyncio.create_task(self._unwatch(generation_id))
            task.add_done_callback(lambda _: self._unwatching.pop(generation_id))

    async def read(self) -> None:
        """Read the inbox once and pass its frames on."""
        try:
            entries = await read_stream(
                self._blocking, keys.inbox(self._gateway_id), self._last_id, count=READ_COUNT, block_ms=READ_BLOCK_MS
            )
        except Exception:
            self._was_away = True
            raise
        if self._was_away:
            self._was_away = False
            self.resync()
        for entry_id, fields in entries:
            self._last_id = entry_id.decode()
            for name, frame in fields.items():
                generation_id, _, n = name.rpartition(b":")
                self._offer(generation_id.decode(), int(n), frame)

    async def heartbeat(self) -> None:
        """Say that this gateway reads its inbox, drop what it has read, and fill gaps where it was forgotten."""
        inbox, now_ms = keys.inbox(self._gateway_id), await redis_now_ms(self._redis)
        async with self._redis.pipeline(transaction=False) as pipeline:
            # First what makes room, which a full Redis lets pass.
            if self._last_id != "0":
                pipeline.xtrim(inbox, minid=self._last_id, approximate=True)
            pipeline.expire(inbox, INBOX_SECONDS)
            pipeline.zadd(keys.GATEWAYS, {self._gateway_id: now_ms})
            *_, is_new = await pipeline.execute()
        was_silent, self._heartbeat_ms = now_ms - self._heartbeat_ms > SILENT_MS, now_ms
        if is_new or was_silent:
            self.resync()

    def resync(self) -> None:
        """Read every followed journal again: frames may have been lost while this gateway was away."""
        for listeners in self._subscriptions.values():
            for subscription in listeners:
                self._start_sync(subscription)

    def _offer(self, generation_id: str, n: int, frame: bytes) -> None:
        listeners = self._subscriptions.get(generation_id)
        if listeners is None:
            return
        self.delivered_frames += 1
        for subscription in tuple(listeners):
            if subscription.offer(n, frame):
                self._start_sync(subscription)
            if subscription.ended:
                self.unsubscribe(subscription)

    def _start_sync(self, subscription: Subscription) -> None:
        if subscription.syncing:
            return
        subscription.syncing = True
        task = asyncio.create_task(self._sync_logged(subscription))
        self._syncs.add(task)
        task.add_done_callback(self._syncs.discard)

    async def _sync_logged(self, subscription: Subscription) -> None:
        try:
            await self._sync(subscription)
        except JournalExpired:
            # Nobody is left to end it: Redis has lost what it knew, or it ended long ago while nothing came here.
            _log.warning("generation_lost", generation_id=subscription.generation_id)
            self.unsubscribe(subscription)
            subscription.fail(WorkerLost("The rest of the answer was lost. Read the stored message, or ask again."))
        except (redis.exceptions.RedisError, OSError) as error:
            # The next read of the inbox starts another try: there may be no frame any more that would.
            subscription.syncing = False
            self._was_away = True
            _log.warning("sync_failed", generation_id=subscription.generation_id, reason=type(error).__name__)

    async def _unwatch(self, generation_id: str) -> None:
        """Get no frames any more that nobody follows here."""
        try:
            await self._journal.unwatch(generation_id, self._gateway_id)
        except AWAY as error:
            # They come until the generation ends, and are passed over.
            _log.info("unwatch_failed", generation_id=generation_id, reason=type(error).__name__)

    async def _sync(self, subscription: Subscription) -> None:
        entries = await self._journal.watch(
            subscription.generation_id, self._gateway_id, after_n=subscription.next_n - 1
        )
        if entries is None:
            raise JournalExpired("This generation ended too long ago to be replayed. Read the stored message.")
        for entry in entries:
            subscription.offer_entry(entry)
        subscription.syncing = False
        if subscription.ended:
            self.unsubscribe(subscription)
