"""The real engine keeps the contract when it speculates and when prompts are not split, on the real demo model."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_worker.engine import Engine, EngineSpec, Finish, SamplingParams, Speculation
from inference_worker.engines.factory import create_engine
from tests.contract.engine_suite import EngineSuite, MakeEngine, Started, greedy

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]

CHAT = [1, 4093, 198, 19556, 665, 17, 2, 198, 1, 520, 9531, 198]


def _engine(
    model_dir: Path,
    speculation: Speculation | None,
    *,
    num_kv_blocks: int | None = None,
    dynamic_split_fuse: bool = True,
) -> Engine:
    spec = EngineSpec(
        "continuous_batching",
        model_dir,
        slots=4,
        max_num_batched_tokens=64,
        num_kv_blocks=num_kv_blocks,
        dynamic_split_fuse=dynamic_split_fuse,
        speculation=speculation,
    )
    assert EngineSpec.from_json(spec.to_json()) == spec
    return create_engine(spec)


class TestPromptLookup(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_engine(cls, demo_ir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
        def make(*, broken: bool = False) -> Engine:
            folder = tmp_path_factory.mktemp("no-model") if broken else demo_ir
            return _engine(folder, Speculation(3, max_ngram_size=3))

        return make

    def test_several_tokens_come_with_one_step(self, started: Started) -> None:
        heard = started.answer([*CHAT, *[300, 301, 302, 303] * 8], greedy(40))
        assert (len(heard.token_ids), heard.finish) == (40, Finish.LENGTH)
        assert heard.events < 40


class TestDraftModel(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_engine(cls, demo_ir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
        def make(*, broken: bool = False) -> Engine:
            folder = tmp_path_factory.mktemp("no-model") if broken else demo_ir
            return _engine(folder, Speculation(3, draft_dir=demo_ir.parent / "int4"))

        return make

    def test_several_tokens_come_with_one_step(self, started: Started) -> None:
        heard = started.answer(CHAT, greedy(40))
        assert (len(heard.token_ids), heard.finish) == (40, Finish.LENGTH)
        assert heard.events < 30

    def test_the_same_seed_gives_the_same_tokens(self, started: Started, prompt: list[int]) -> None:
        """The runtime cannot sample here; a request that tries must not end the engine for the others."""
        assert started.info.unsupported == ("temperature",)
        with pytest.raises(ValueError, match="greedy"):
            started.engine.add("sampled", prompt, SamplingParams(4, temperature=0.1))
        assert started.answer(prompt, greedy(16)).token_ids == started.answer(prompt, greedy(16)).token_ids

    def test_the_models_own_end_token_ends_the_answer(self, started: Started) -> None:
        heard = started.answer(CHAT, SamplingParams(200))
        assert (heard.finish, heard.token_ids[-1]) == (Finish.STOP, 2)


@pytest.mark.parametrize("drafted", [False, True], ids=["prompt lookup", "draft model"])
def test_cache_memory_that_runs_out_is_an_error_and_no_stop(demo_ir: Path, drafted: bool) -> None:
    """Accident: a sequence for which there is no memory stays for ever, and its slot with it."""
    draft = demo_ir.parent / "int4" if drafted else None
    speculation = Speculation(3, draft_dir=draft, max_ngram_size=None if drafted else 3)
    engine = _engine(demo_ir, speculation, num_kv_blocks=16)
    try:
        started = Started(engine, engine.start())
        heard = started.answer(list(range(300, 500)), greedy(600))
        assert heard.finish is Finish.KV_CACHE_EXHAUSTED
        assert started.answer([1, 2, 3], greedy(4)).finish is Finish.LENGTH
    finally:
        engine.stop()


def test_a_prompt_that_is_not_split_is_computed_in_one_step(demo_ir: Path) -> None:
    """Accident: a prompt longer than a step would wait for ever."""
    engine = _engine(demo_ir, None, dynamic_split_fuse=False)
    try:
        started = Started(engine, engine.start())
        engine.add("long", [100 + at * 7 % 20_000 for at in range(300)], greedy(2))
        assert len(engine.next_events(0.05)) == 1
        started.finish_all(1)
    finally:
        engine.stop()
