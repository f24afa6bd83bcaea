"""What a tuning tries, and what it makes of the figures."""

from __future__ import annotations

from pathlib import Path

from gateway.client.tuning.candidates import Candidate, candidates, combined
from gateway.client.tuning.measurement import Measurement, best_of, best_parts
from gateway.client.tuning.session import TuningPlan, TuningSession
from gateway.client.tuning.table import table_lines
from shared.schemas.engine_config import EngineConfig
from shared.schemas.tuning import CandidateReady, RoundFigures

FACTS = CandidateReady(
    host_kind="Some CPU, 8 threads",
    threads=8,
    capabilities=("BF16", "FP32", "INT8"),
    engine="continuous_batching",
    slots=64,
    max_num_batched_tokens=200,
    step_target_ms=120,
    prompt_tokens=1000,
    properties={"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "8"},
)


def figures(one: float = 10, many: float = 100, first_ms: float = 1000, step_ms: float = 100) -> RoundFigures:
    return RoundFigures(
        one_chat_tokens_per_second=one,
        many_chats_tokens_per_second=many,
        first_token_ms=first_ms,
        longest_step_ms=step_ms,
    )


def candidate(**properties: str) -> Candidate:
    return Candidate(EngineConfig(properties=properties))


def measured(what: Candidate, *rounds: RoundFigures, default: RoundFigures | None = None) -> Measurement:
    return Measurement(what, rounds=[(one, default or figures()) for one in rounds])


def test_only_what_the_host_can_and_does_not_do_anyway_is_tried() -> None:
    labels = [one.label for one in candidates(FACTS, device="CPU")]
    assert "INFERENCE_PRECISION_HINT=bf16" in labels
    assert "KV_CACHE_PRECISION=bf16" in labels
    assert not {"INFERENCE_PRECISION_HINT=f32", "INFERENCE_PRECISION_HINT=f16"} & set(labels)
    assert {"INFERENCE_NUM_THREADS=4", "INFERENCE_NUM_THREADS=7"} <= set(labels)
    assert {"max_num_batched_tokens=400", "max_num_batched_tokens=100"} <= set(labels)
    plain = FACTS.model_copy(update={"capabilities": ("FP32",), "max_num_batched_tokens": 0, "threads": 1})
    labels = [one.label for one in candidates(plain, device="CPU")]
    assert not [label for label in labels if "bf16" in label or "batched" in label or "NUM_THREADS" in label]
    assert [one.label for one in candidates(FACTS, device="CPU", only=("ENABLE_CPU_PINNING",))] == [
        "ENABLE_CPU_PINNING=NO"
    ]
    assert not [one for one in candidates(FACTS, device="GPU") if "NUM_THREADS" in one.label]


def test_ratios_are_of_the_same_round_and_above_one_is_better() -> None:
    """Accident: another process slows the host for one round, and whoever was measured in it looks slow."""
    slow, quick = figures(one=5, many=50, first_ms=2000), figures()
    one = Measurement(candidate(NUM_STREAMS="1"), rounds=[(slow, slow), (quick, quick), (quick, quick)])
    assert one.figures().one_chat_ratio == one.figures().many_chats_ratio == one.figures().first_token_ratio == 1
    better = measured(candidate(NUM_STREAMS="1"), figures(one=12, many=150, first_ms=500))
    assert (better.figures().one_chat_ratio, better.figures().first_token_ratio) == (1.2, 2.0)
    assert better.score("throughput") > better.score("latency") > 1


def test_each_mode_has_its_own_best_and_noise_is_no_gain() -> None:
    quick = measured(candidate(PERFORMANCE_HINT="LATENCY"), figures(one=15, many=90))
    wide = measured(candidate(PERFORMANCE_HINT="THROUGHPUT"), figures(one=8, many=160))
    noise = measured(candidate(NUM_STREAMS="1"), figures(one=10.1, many=101))
    assert best_of([quick, wide, noise], "latency") is quick
    assert best_of([quick, wide, noise], "throughput") is wide
    assert best_of([noise], "latency") is None
    lucky = measured(candidate(NUM_STREAMS="1"), figures(one=9), figures(one=11), figures(one=12))
    assert lucky.score("latency") > 1.03
    assert best_of([lucky], "latency") is None
    assert best_of([], "latency") is None


def test_the_best_value_of_each_name_is_tried_together() -> None:
    u8 = measured(candidate(KV_CACHE_PRECISION="u8"), figures(one=12))
    f16 = measured(candidate(KV_CACHE_PRECISION="f16"), figures(one=13))
    pinned = measured(candidate(ENABLE_CPU_PINNING="NO"), figures(one=11))
    together = best_parts([u8, f16, pinned], "latency")
    assert together is not None
    assert together.config.properties == {"KV_CACHE_PRECISION": "f16", "ENABLE_CPU_PINNING": "NO"}
    assert best_parts([u8, f16], "latency") is None
    tokens = Candidate(EngineConfig(max_num_batched_tokens=99))
    assert combined([tokens, candidate(NUM_STREAMS="1")]).label == "max_num_batched_tokens=99 NUM_STREAMS=1"


def test_a_fast_candidate_that_says_something_else_is_out() -> None:
    wrong = measured(candidate(INFERENCE_PRECISION_HINT="bf16"), figures(one=99))
    wrong.agreement = 0.5
    wrong.check_agreement(0.97)
    assert wrong.rejected == "says only 50% of the default's tokens"
    assert best_of([wrong], "latency") is None
    # Near ties round differently.
    near = Measurement(candidate(INFERENCE_PRECISION_HINT="bf16"), agreement=0.8)
    near.check_agreement(0.97)
    assert near.rejected is None


def test_steps_that_keep_others_waiting_are_out() -> None:
    large = measured(Candidate(EngineConfig(max_num_batched_tokens=400)), figures(many=150, step_ms=500))
    large.check_steps(120)
    assert large.rejected == "steps of 500 ms keep other chats waiting"
    within = measured(Candidate(EngineConfig(max_num_batched_tokens=400)), figures(many=150, step_ms=200))
    within.check_steps(120)
    assert within.rejected is None


def test_the_table_names_the_best_of_each_mode_and_what_is_out() -> None:
    plan = TuningPlan("m:int8", "CPU", ("latency", "throughput"), 60, 1, (), Path("store"))
    quick = measured(candidate(PERFORMANCE_HINT="LATENCY"), figures(one=15, many=90))
    failed = Measurement(candidate(NUM_STREAMS="2"), rejected="fails: no such thing")
    left = [candidate(NUM_STREAMS="3")]
    session = TuningSession(plan, measured=[quick, failed], default_rounds=[figures()], left_out=left)
    lines = table_lines(session)
    assert lines[2].endswith("best for latency")
    assert "×1.50" in lines[2]
    assert lines[3].endswith("fails: no such thing")
    assert lines[4:] == [
        "for throughput nothing is better than the default by more than the noise",
        "not measured: NUM_STREAMS=3",
    ]
