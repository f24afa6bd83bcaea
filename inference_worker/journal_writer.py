"""Appends the entries of all generations to Redis, in order, one call for what has gathered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable

from inference_worker.redis_patience import AWAY, Backoff, until_answered
from shared.journal import TERMINAL_KINDS, Journal, NewEntry

_APPEND_LIMIT_SECONDS = 10.0
_Key = tuple[str, int]


class JournalWriter:
    """A queue in front of `Journal.append`.

    While one call is under way the entries of the next steps gather. A call that got no answer may or may not have
    been carried out, and a restarted Redis may have lost its last moments. So entries are kept until their generation
    has ended, and after a failure each journal is read and continued from what is in it: nothing twice, nothing lost.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        worker_id: Callable[[], str],
        on_refused: Callable[[frozenset[str]], None],
        on_appended: Callable[[int], None],
    ) -> None:
        """`journal` must be on a client that does not repeat commands by itself; `on_appended` is told how many."""
        self._journal = journal
        self._worker_id = worker_id
        self._on_refused = on_refused
        self._on_appended = on_appended
        self._kept: dict[_Key, list[NewEntry]] = {}
        self._pending: list[NewEntry] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, entries: Iterable[NewEntry]) -> None:
        """Append soon; returns at once, whatever Redis does."""
        for entry in entries:
            self._pending.append(entry)
            self._kept.setdefault((entry.generation_id, entry.attempt), []).append(entry)
        if self._pending:
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Append until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch, self._pending = self._pending, []
                await self._append(batch)
            self._idle.set()

    async def flushed(self) -> None:
        """Return once everything added is appended."""
        await self._idle.wait()

    async def _append(self, batch: list[NewEntry]) -> None:
        backoff = Backoff("journal")
        while True:
            try:
                async with asyncio.timeout(_APPEND_LIMIT_SECONDS):
                    refused = await self._journal.append(self._worker_id(), batch)
            except AWAY as error:
                await backoff.pause(error)
                batch = await self._missing()
                continue
            backoff.succeeded()
            break
        self._on_appended(len(batch))
        for entry in batch:
            if entry.kind in TERMINAL_KINDS or entry.generation_id in refused:
                self._kept.pop((entry.generation_id, entry.attempt), None)
        if refused:
            self._on_refused(refused)

    async def _missing(self) -> list[NewEntry]:
        """What is kept and not in the journals; takes the place of all that is pending."""
        missing: list[NewEntry] = []
        kept = {key: list(entries) for key, entries in self._kept.items()}
        for (generation_id, attempt), entries in kept.items():
            found = await until_answered("reconcile", functools.partial(self._journal.read, generation_id))
            written = sum(entry.attempt == attempt for entry in found)
            missing.extend(entries[written:])
            if written >= len(entries) and entries[-1].kind in TERMINAL_KINDS:
                self._kept.pop((generation_id, attempt), None)
        # Steps went on while Redis was read: their entries follow those that are missing.
        counted = {key: len(entries) for key, entries in kept.items()}
        self._pending = []
        for key, entries in self._kept.items():
            self._pending.extend(entries[counted.get(key, 0) :])
        return missing
