from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_worker.engine import EngineInfo, EngineSpec, Finish, SamplingParams, TokenEvent
from inference_worker.engines.sequential import Emit, Job, SequentialEngine


class _Counting(SequentialEngine):
    """Emits 7 until it may no more."""

    def _load(self) -> EngineInfo:
        return EngineInfo("counting", slots=1, context_length=100, eos_token_ids=())

    def _plan(self, job: Job) -> None:
        return None

    def _compute(self, job: Job, emit: Emit) -> None:
        for _ in range(job.params.max_new_tokens):
            emit((7,), ())

    def _free(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(("prompt_tokens", "answer_tokens"), [(10, 22), (31, 1), (32, 30), (80, 20)])
def test_no_answer_crosses_the_length_from_which_on_positions_are_others(
    tmp_path: Path, prompt_tokens: int, answer_tokens: int
) -> None:
    """The cached part of the text keeps the positions that it was computed with, and the rest would have others."""
    rope = {"type": "longrope", "short_factor": [1.0], "long_factor": [4.0]}
    config = {"rope_scaling": rope, "original_max_position_embeddings": 32, "max_position_embeddings": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    engine = _Counting(EngineSpec("counting", tmp_path))
    engine.start()
    try:
        engine.add("one", [3] * prompt_tokens, SamplingParams(30))
        heard: list[TokenEvent] = []
        while not heard or heard[-1].finish is None:
            heard += engine.next_events(5.0)
        assert sum(len(event.token_ids) for event in heard) == answer_tokens
        assert heard[-1].finish is Finish.LENGTH
    finally:
        engine.stop()
