"""An engine that keeps a record of every token, for a check that trusts nothing behind the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from inference_worker.engine import Engine, EngineFigures, EngineInfo, ProgressCallback, SamplingParams, TokenEvent


class TokenLoggedEngine(Engine):
    """Another engine with a log: one file a replica process, one JSON object a line.

    A line is with the kernel before the agent hears of what it tells: whatever a client got of an answer stands here,
    also when the process is killed in the next moment. The prompts stand here too, so this is for tests only.

    Every object has the wall clock's ``t`` in seconds and says ``e``: ``start`` (name, pid, eos), ``add`` (id, ids,
    max_new_tokens), ``out`` (id, ids, finish) or ``abort`` (id).
    """

    def __init__(self, engine: Engine, folder: Path, *, name: str) -> None:
        """Raises OSError where `folder` cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._engine = engine
        self._name = name
        self._file = (folder / f"{time.time_ns()}-{os.getpid()}.jsonl").open("ab", buffering=0)

    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        info = self._engine.start(report_progress)
        self._write({"e": "start", "name": self._name, "pid": os.getpid(), "eos": info.eos_token_ids})
        return info

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        self._write({"e": "add", "id": sequence_id, "ids": token_ids, "max_new_tokens": params.max_new_tokens})
        self._engine.add(sequence_id, token_ids, params)

    def abort(self, sequence_id: str) -> None:
        self._write({"e": "abort", "id": sequence_id})
        self._engine.abort(sequence_id)

    def next_events(self, timeout: float) -> list[TokenEvent]:
        events = self._engine.next_events(timeout)
        self._write(*map(_line_of, events))
        return events

    def figures(self) -> EngineFigures:
        return self._engine.figures()

    def stop(self) -> None:
        self._engine.stop()
        self._file.close()

    def _write(self, *values: Mapping[str, object]) -> None:
        now = round(time.time(), 4)
        if values:
            self._file.write(b"".join(orjson.dumps({"t": now, **value}) + b"\n" for value in values))


def _line_of(event: TokenEvent) -> dict[str, object]:
    return {"e": "out", "id": event.sequence_id, "ids": event.token_ids, "finish": event.finish}
