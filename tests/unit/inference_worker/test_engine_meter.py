"""Measures by the engine's contract, with the sample engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_worker.engine import EngineSpec
from inference_worker.engines.factory import create_engine
from inference_worker.tuning.engine_meter import EngineMeter

PROMPTS = ((1, 2, 3), (4, 5))


def meter(folder: Path, **options: object) -> Iterator[EngineMeter]:
    engine = create_engine(EngineSpec("sample", folder, options={"vocab_size": 2000, "context_length": 600, **options}))
    try:
        yield EngineMeter(engine, engine.start(), vocab_size=2000)
    finally:
        engine.stop()


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[EngineMeter]:
    yield from meter(tmp_path, tokens_per_second=400.0, prefill_tokens_per_second=10_000.0)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[EngineMeter]:
    yield from meter(tmp_path, replay_token_ids=(700, 701))


def test_speeds_are_those_of_the_engine(fast: EngineMeter) -> None:
    assert fast.prompt_tokens < 600
    figures = fast.measure(1)
    assert 200 < figures.one_chat_tokens_per_second < 450
    assert figures.many_chats_tokens_per_second > 3 * figures.one_chat_tokens_per_second
    assert figures.first_token_ms > 40


def test_an_engine_agrees_with_itself_and_not_with_another(fast: EngineMeter, other: EngineMeter) -> None:
    said = fast.continuations(PROMPTS, 6)
    assert [len(one) for one in said] == [6, 6]
    assert fast.agreement(PROMPTS, said) == 1.0
    assert other.agreement(PROMPTS, said) == 0.0
