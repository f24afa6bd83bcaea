"""Appends the entries of all generations to Redis, in order, one call for what has gathered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable

from inference_worker.kept_entries import KeptEntries
from inference_worker.redis_patience import Backoff, until_answered
from shared.journal import TERMINAL_KINDS, Attempt, Journal, NewEntry
from shared.redis_client import AWAY

#: An entry and its number among those of its attempt, from 1.
_Numbered = tuple[int, NewEntry]


class JournalWriter:
    """A queue in front of `Journal.append`.

    While one call is under way the entries of the next steps gather. A call that got no answer may or may not have
    been carried out, and a restarted Redis may have lost its last moments. So entries are kept until their generation
    has ended, and after a failure each journal is read and continued from what is in it: nothing twice, nothing lost.
    Such a call may still be carried out after that, so entries are numbered and none is written under its number again.
    How much a Redis loses depends on its configuration and on what it was restored from, so all are kept, but packed.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        worker_id: Callable[[], str],
        on_refused: Callable[[frozenset[Attempt]], None],
        on_appended: Callable[[int], None],
    ) -> None:
        """`journal` must be on a client that does not repeat commands by itself; `on_appended` is told how many."""
        self._journal = journal
        self._worker_id = worker_id
        self._on_refused = on_refused
        self._on_appended = on_appended
        self._kept: dict[Attempt, KeptEntries] = {}
        self._pending: list[_Numbered] = []
        self._left: set[Attempt] = set()
        """Attempts that are over without an end, until what they have pending is appended."""
        self._reconciling = False
        """Whether what is to be appended next follows from what is kept, so that nothing else needs to wait for it."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._calls = 0
        """How many have been answered."""
        self._answered = asyncio.Event()
        """Of the next one; then another takes its place."""

    def add(self, entries: Iterable[NewEntry]) -> None:
        """Append soon; returns at once, whatever Redis does."""
        for entry in entries:
            key = Attempt(entry.generation_id, entry.attempt)
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = KeptEntries(*key)
            kept.add(entry)
            if not self._reconciling:
                self._pending.append((len(kept), entry))
        if self._pending:
            self._rouse()

    def leave(self, generation_id: str, attempt: int) -> None:
        """Forget an attempt that another one follows, once its entries are appended; none may be added any more."""
        key = Attempt(generation_id, attempt)
        if key in self._kept:
            self._left.add(key)
            self._rouse()

    @property
    def generation_ids(self) -> frozenset[str]:
        """What has entries here that may have to be appended still."""
        return frozenset(key.generation_id for key in self._kept)

    async def run(self) -> None:
        """Append until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending or self._left:
                await self._append()
                self._calls += 1
                answered, self._answered = self._answered, asyncio.Event()
                answered.set()
            self._idle.set()

    async def flushed(self) -> None:
        """Return once everything that was added so far is appended, whatever is added meanwhile."""
        # What is not in the call under way is in the one behind it.
        last = self._calls + 2
        while not self._idle.is_set() and self._calls < last:
            await self._answered.wait()

    def _rouse(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def _append(self) -> None:
        batch, self._pending = self._pending, []
        over, self._left = self._left, set()
        backoff = Backoff("journal")
        while True:
            try:
                refused = await self._journal.append(
                    self._worker_id(), [entry for _, entry in batch], [number for number, _ in batch]
                )
            except AWAY as error:
                batch, self._pending, self._reconciling = [], [], True
                await backoff.pause(error)
                batch = await self._missing()
                continue
            backoff.succeeded()
            break
        if batch:
            self._on_appended(len(batch))
        for _, entry in batch:
            if entry.kind in TERMINAL_KINDS:
                over.add(Attempt(entry.generation_id, entry.attempt))
        over |= refused
        for key in over:
            self._kept.pop(key, None)
        if refused:
            self._on_refused(refused)

    async def _missing(self) -> list[_Numbered]:
        """What is kept and not in the journals, that which is added while they are read included."""
        written: dict[Attempt, int] = {}
        for key in list(self._kept):
            found = await until_answered("reconcile", functools.partial(self._journal.read, key.generation_id))
            written[key] = sum(entry.attempt == key.number for entry in found)
        self._reconciling = False
        missing: list[_Numbered] = []
        for key, kept in list(self._kept.items()):
            count = written.get(key, 0)
            missing.extend(enumerate(kept.after(count), count + 1))
            if kept.has_end and count >= len(kept):
                del self._kept[key]
        return missing
