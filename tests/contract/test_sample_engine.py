"""The sample engine keeps the contract, and has a few tricks of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference_worker.engine import EngineSpec, Finish, SamplingParams
from inference_worker.engines.factory import create_engine
from inference_worker.engines.sample import SampleEngine
from tests.contract.engine_suite import EngineSuite, MakeEngine, Started, greedy

_OPTIONS: dict[str, object] = {
    "context_length": 4096,
    "vocab_size": 20_000,
    "eos_token_id": 2,
    "prefill_tokens_per_second": 50_000,
}


def _engine(**options: object) -> SampleEngine:
    return SampleEngine(EngineSpec("sample", Path("nowhere"), slots=EngineSuite.slots, options={**_OPTIONS, **options}))


class TestSampleEngine(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_engine(cls) -> MakeEngine:
        return lambda broken=False: _engine(fail_start=broken)


def _started(**options: object) -> Started:
    engine = _engine(**options)
    return Started(engine, engine.start())


def test_a_lost_answer_is_continued_exactly() -> None:
    """Accident: after a failover the answer would go on with other words than the lost run would have said."""
    whole = _started().answer([5, 6, 7], greedy(20)).token_ids
    rest = _started().answer([5, 6, 7, *whole[:8]], greedy(12)).token_ids
    assert whole[:8] + rest == whole


def test_a_recording_is_replayed_and_ends_by_stop() -> None:
    recording = [70, 71, 72, 73]
    heard = _started(replay_token_ids=recording).answer([5], SamplingParams(50))
    assert (heard.token_ids, heard.finish) == ([*recording, 2], Finish.STOP)


def test_a_replay_is_continued_where_the_prompt_left_it() -> None:
    heard = _started(replay_token_ids=[70, 71, 72, 73]).answer([5, 70, 71], SamplingParams(50))
    assert heard.token_ids == [72, 73, 2]


def test_the_speed_is_the_one_that_was_set() -> None:
    started = _started(tokens_per_second=100)
    begin = time.monotonic()
    started.answer([5], greedy(30))
    assert 0.25 < time.monotonic() - begin < 1.5


def test_cache_memory_that_runs_out_is_an_error_and_no_stop() -> None:
    heard = _started(kv_cache_tokens=20).answer([5] * 10, greedy(30))
    assert heard.finish is Finish.KV_CACHE_EXHAUSTED


def test_it_crashes_when_told_to() -> None:
    script = (
        "from pathlib import Path\n"
        "from inference_worker.engine import EngineSpec, SamplingParams\n"
        "from inference_worker.engines.sample import SampleEngine\n"
        "engine = SampleEngine(EngineSpec('sample', Path('nowhere'), options={'crash_after_tokens': 2}))\n"
        "engine.start()\n"
        "engine.add('one', [5], SamplingParams(9))\n"
        "while True: engine.next_events(0.1)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode < 0


def test_the_factory_knows_its_engines_only() -> None:
    with pytest.raises(ValueError, match="unknown engine"):
        create_engine(EngineSpec("telepathy", Path("nowhere")))
