"""The engines that compute one sequence after the other keep the contract, on the real demo model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from inference_worker.engine import Engine, EngineError, EngineSpec, Finish, SamplingParams
from inference_worker.engines.factory import create_engine
from inference_worker.text.tokenizer import Tokenizer
from tests.contract.engine_suite import EngineSuite, MakeEngine, Started, greedy

# The first test of a run waits for the demo model's conversion.
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]

# "<|im_start|>user\nHello there!<|im_end|>\n<|im_start|>assistant\n": the model greets back and ends.
_CHAT = [1, 4093, 198, 19556, 665, 17, 2, 198, 1, 520, 9531, 198]


class _SequentialSuite(EngineSuite):
    slots = 1
    engine_name: str

    @pytest.fixture(scope="class")
    @classmethod
    def make_engine(cls, demo_ir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
        def make(*, broken: bool = False) -> Engine:
            folder = tmp_path_factory.mktemp("no-model") if broken else demo_ir
            return create_engine(EngineSpec(cls.engine_name, folder))

        return make

    def test_the_models_own_end_token_ends_the_answer(self, started: Started) -> None:
        heard = started.answer(_CHAT, SamplingParams(200))
        assert (heard.finish, heard.token_ids[-1]) == (Finish.STOP, 2)

    def test_ignore_eos_goes_on_also_where_other_tokens_end(self, started: Started) -> None:
        assert started.answer(_CHAT, greedy(60)).finish is Finish.LENGTH
        assert started.answer(_CHAT, greedy(60, stop_token_ids=(49_000,))).finish is Finish.LENGTH

    def test_penalties_count_no_prompt_but_repetition_does(self, started: Started) -> None:
        """What a failover relies on: emitted tokens stand in the prompt of the attempt that goes on."""
        echo = [*_CHAT, *[8, 9] * 20]
        plain = started.answer(echo, greedy(12)).token_ids
        frequency = SamplingParams(12, frequency_penalty=2.0, presence_penalty=2.0, ignore_eos=True)
        fresh = started.answer(echo, frequency).token_ids
        assert fresh[0] == plain[0]
        assert fresh != plain
        repetition = SamplingParams(1, repetition_penalty=2.0, ignore_eos=True)
        assert started.answer(echo, repetition).token_ids != plain[:1]

    def test_top_k_and_min_p_narrow_the_choice(self, started: Started) -> None:
        plain = started.answer(_CHAT, greedy(6)).token_ids
        hot = {"temperature": 2.0, "seed": 3, "ignore_eos": True}
        assert started.answer(_CHAT, SamplingParams(6, top_k=1, **hot)).token_ids == plain  # type: ignore[arg-type]
        assert started.answer(_CHAT, SamplingParams(6, min_p=1.0, **hot)).token_ids == plain  # type: ignore[arg-type]


class TestStatefulEngine(_SequentialSuite):
    engine_name = "stateful"

    def test_log_probabilities_come_where_asked_for(self, started: Started, prompt: list[int]) -> None:
        assert started.info.unsupported == ("top_logprobs",)

    def test_a_schema_is_followed(self, started: Started, demo_ir: Path) -> None:
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        heard = started.answer(_CHAT, SamplingParams(100, json_schema=json.dumps(schema)))
        assert heard.finish is Finish.STOP
        jsonschema.validate(json.loads(Tokenizer.from_folder(demo_ir).decode(heard.token_ids)), schema)


class TestOptimumEngine(_SequentialSuite):
    engine_name = "optimum"

    def test_the_likeliest_alternatives_are_told(self, started: Started, prompt: list[int]) -> None:
        heard = started.answer(prompt, SamplingParams(4, ignore_eos=True, top_logprobs=3))
        assert [item.top[0][0] for item in heard.logprobs] == heard.token_ids
        assert all(item.top[0][1] == item.logprob for item in heard.logprobs)
        assert all(len(item.top) == 3 for item in heard.logprobs)

    def test_it_cannot_follow_a_schema(self, started: Started) -> None:
        assert started.info.unsupported == ("json_schema",)


@pytest.mark.parametrize("device", ["AUTO", "HETERO:CPU"])
def test_the_stateful_engine_runs_on_virtual_devices(demo_ir: Path, device: str) -> None:
    engine = create_engine(EngineSpec("stateful", demo_ir, device=device))
    try:
        assert Started(engine, engine.start()).answer(_CHAT, greedy(3)).finish is Finish.LENGTH
    finally:
        engine.stop()


def test_an_engine_without_its_packages_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optimum.intel", None)
    monkeypatch.delitem(sys.modules, "inference_worker.engines.optimum", raising=False)
    with pytest.raises(EngineError, match=r"optimum-intel.*OVCHAT_ENGINE=stateful"):
        create_engine(EngineSpec("optimum", Path("nowhere")))
