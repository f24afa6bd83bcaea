"""This worker's part of its host's memory ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inference_worker.redis_patience import Backoff, until_answered
from shared.host_ledger import HostLedger
from shared.redis_client import AWAY


class HostMemory:
    """Reserves before a load; what is held afterwards is written down as soon as Redis answers."""

    def __init__(self, ledger: HostLedger, *, host_id: str, worker_id: Callable[[], str], budget_bytes: int) -> None:
        self.host_id = host_id
        self.budget_bytes = budget_bytes
        self._ledger = ledger
        self._worker_id = worker_id
        self._held: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._wake = asyncio.Event()

    def held_bytes(self, variant: str) -> int:
        """Bytes that are reserved for a variant here."""
        return self._held.get(variant, 0)

    @property
    def total_held_bytes(self) -> int:
        """Bytes that this worker's replicas hold together."""
        return sum(self._held.values())

    async def reserve(self, variant: str, needed_bytes: int) -> int:
        """Reserve and return 0, or return how many bytes of the host's budget are missing. Waits for Redis."""
        missing = await until_answered(
            "ledger",
            lambda: self._ledger.reserve(
                self.host_id, self._worker_id(), variant, needed_bytes, budget_bytes=self.budget_bytes
            ),
        )
        if missing <= 0:
            self._held[variant] = needed_bytes
        return missing

    def settle(self, variant: str, held_bytes: int) -> None:
        """Hold this much from now on; 0 gives everything back."""
        if held_bytes:
            self._held[variant] = held_bytes
        else:
            self._held.pop(variant, None)
        self._unwritten.add(variant)
        self._wake.set()

    def write_again(self) -> None:
        """The worker has a new id: what it holds stands under the old one, which counts no more."""
        self._unwritten.update(self._held)
        self._wake.set()

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        backoff = Backoff("ledger")
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unwritten:
                variant = self._unwritten.pop()
                try:
                    await self._ledger.write(self.host_id, self._worker_id(), variant, self._held.get(variant, 0))
                except AWAY as error:
                    self._unwritten.add(variant)
                    await backoff.pause(error)
                else:
                    backoff.succeeded()
