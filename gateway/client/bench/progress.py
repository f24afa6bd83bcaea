"""What a running load has done so far, on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.client.bench.sample import Sample

_EVERY_SECONDS = 0.5


def _line(label: str, samples: Sequence[Sample], seconds: float) -> str:
    finished = sum(sample.finished for sample in samples)
    failed = sum(sample.failure is not None for sample in samples)
    pieces = sum(len(sample.deltas_at) for sample in samples)
    errors = f", {failed} failed" if failed else ""
    still_open = len(samples) - finished - failed
    return f"{label}: {finished} finished{errors}, {still_open} open, {pieces} pieces, {seconds:.0f} s"


@asynccontextmanager
async def shown(label: str, samples: Sequence[Sample]) -> AsyncIterator[None]:
    """Show how a step goes on while the block runs: a line that changes on a terminal, else one line at its end."""
    begun = time.perf_counter()
    task = asyncio.create_task(_show(label, samples, begun)) if sys.stderr.isatty() else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            sys.stderr.write("\r\x1b[K")
        print(_line(label, samples, time.perf_counter() - begun), file=sys.stderr, flush=True)


async def _show(label: str, samples: Sequence[Sample], begun: float) -> None:
    while True:
        sys.stderr.write(f"\r\x1b[K{_line(label, samples, time.perf_counter() - begun)}")
        sys.stderr.flush()
        await asyncio.sleep(_EVERY_SECONDS)
