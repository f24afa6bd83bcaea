"""The record of every token, which the chaos run's checker reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from shared.schemas.generation import GenerationParams
from tests.helpers.worker_client import StartWorker, WorkerClient, publish_sample_variant, tokens_of

pytestmark = pytest.mark.connected


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]


async def test_a_killed_replica_leaves_every_token_that_was_journaled(
    client: WorkerClient, start_worker: StartWorker, store: Path, tmp_path: Path
) -> None:
    """Accident: the record ends before what clients got, and a check of a run with kills proves nothing."""
    publish_sample_variant(store)
    worker = start_worker(token_log_dir=tmp_path / "tokens")
    await client.ready_worker()
    generation_id = await client.ask(params=GenerationParams(temperature=0, max_new_tokens=200))
    await client.entries_until(generation_id, lambda entries: len(entries) > 20)
    (pid,) = [
        child.pid for child in psutil.Process(worker.pid).children() if "inference_worker.replica" in child.cmdline()
    ]
    os.kill(pid, signal.SIGKILL)
    await client.until(lambda workers: workers[0].free_slots == {})
    journaled = tuple(entry for entry in await client.journal.read(generation_id) if entry.attempt == 1)
    start, add, *outs = lines_of(tmp_path / "tokens")
    assert (start["e"], start["pid"]) == ("start", pid)
    assert (add["e"], add["id"], add["max_new_tokens"]) == ("add", f"{generation_id}:1", 200)
    made = [token_id for out in outs for token_id in out["ids"]]
    assert list(tokens_of(journaled)) == made[: len(tokens_of(journaled))]
