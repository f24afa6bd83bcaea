"""Where each value of an engine's configuration comes from: a table of layers and what they make."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from inference_worker.config_layers import choose_tuning, config_layers, host_kind
from inference_worker.engine_layers import EffectiveConfig, Layer, merge
from inference_worker.host_cores import CoreShare
from inference_worker.load_plan import PlanningGround, plan_load
from inference_worker.memory_need import kv_block_bytes
from shared.catalog import load_catalog
from shared.errors import LoadFailed
from shared.model_store import ModelStore
from shared.schemas.engine_config import EngineConfig, Tuning, TuningMode, VariantEngine
from shared.schemas.models import EngineCheck, Verification, WeightFormat
from shared.settings import InferenceSettings
from tests.helpers.worker_client import publish_sample_variant

GIB = 1 << 30
KIND = "Some CPU, 8 threads"


def tuning(mode: TuningMode = "throughput", *, device: str = "CPU", kind: str = KIND, **properties: str) -> Tuning:
    return Tuning(device=device, host_kind=kind, mode=mode, config=EngineConfig(properties=properties))


def effective(
    stored: VariantEngine,
    *,
    alone: bool = True,
    weight_format: WeightFormat = "int8",
    model: str = "",
    present: tuple[str, ...] = ("CPU",),
    **settings: object,
) -> EffectiveConfig:
    read = InferenceSettings.model_validate(settings)
    return merge(
        config_layers(
            settings=read,
            weight_format=weight_format,
            cores=CoreShare(8, alone=alone),
            entry=load_catalog().find(model),
            present_devices=present,
            stored=stored,
            kind=host_kind(read.device, "Some CPU", 8),
        )
    )


def shown(found: EffectiveConfig, name: str) -> tuple[object, str] | None:
    view = found.settings().get(name)
    return None if view is None else (view.value, view.source)


def admin(**fields: object) -> VariantEngine:
    return VariantEngine(config=EngineConfig.model_validate(fields))


def tuned(*tunings: Tuning, **fields: object) -> VariantEngine:
    return VariantEngine(config=EngineConfig.model_validate(fields), tunings=tunings)


@pytest.mark.parametrize(
    ("stored", "more", "name", "expected"),
    [
        (admin(), {}, "max_sequences", (64, "host")),
        (admin(max_sequences=7), {}, "max_sequences", (7, "admin")),
        (admin(max_sequences=7), {"max_sequences": 9}, "max_sequences", (9, "environment")),
        # What the environment sets to the default's value is set all the same.
        (admin(max_sequences=7), {"max_sequences": 64}, "max_sequences", (64, "environment")),
        (admin(), {}, "prefix_caching", (True, "host")),
        (admin(prefix_caching=False), {}, "prefix_caching", (False, "admin")),
        (admin(prefix_caching=False), {"prefix_caching": True}, "prefix_caching", (True, "environment")),
        (admin(kv_cache_bytes=5 * GIB), {}, "kv_cache_bytes", (5 * GIB, "admin")),
        (admin(num_kv_blocks=99), {}, "num_kv_blocks", (99, "admin")),
        (admin(num_kv_blocks=99), {}, "kv_cache_bytes", None),
        (admin(num_kv_blocks=99), {"kv_cache_bytes": GIB}, "num_kv_blocks", None),
        (admin(num_kv_blocks=99), {"kv_cache_bytes": GIB}, "kv_cache_bytes", (GIB, "environment")),
        (admin(max_ngram_size=3), {}, "max_ngram_size", (3, "admin")),
        (admin(), {}, "INFERENCE_NUM_THREADS", ("8", "host")),
        (admin(properties={"INFERENCE_NUM_THREADS": "4"}), {}, "INFERENCE_NUM_THREADS", ("4", "admin")),
        (
            admin(properties={"INFERENCE_NUM_THREADS": "4"}),
            {"inference_threads": 2},
            "INFERENCE_NUM_THREADS",
            ("2", "environment"),
        ),
        (admin(), {"device": "GPU", "inference_threads": 2}, "INFERENCE_NUM_THREADS", None),
        (admin(), {"alone": False}, "ENABLE_CPU_PINNING", ("NO", "host")),
        (admin(), {"weight_format": "fp16"}, "INFERENCE_PRECISION_HINT", ("f32", "host")),
        (
            tuned(tuning(INFERENCE_PRECISION_HINT="bf16")),
            {"weight_format": "fp16"},
            "INFERENCE_PRECISION_HINT",
            ("bf16", "tuning"),
        ),
        (tuned(tuning(KV_CACHE_PRECISION="u8")), {}, "KV_CACHE_PRECISION", ("u8", "tuning")),
        (tuned(tuning(KV_CACHE_PRECISION="u8"), tuning="off"), {}, "KV_CACHE_PRECISION", None),
        (tuned(tuning(kind="Some CPU, 4 threads", KV_CACHE_PRECISION="u8")), {}, "KV_CACHE_PRECISION", None),
        (
            tuned(tuning(KV_CACHE_PRECISION="u8"), properties={"KV_CACHE_PRECISION": "f16"}),
            {},
            "KV_CACHE_PRECISION",
            ("f16", "admin"),
        ),
        # Threads that were pinned alone are not pinned beside another agent's.
        (tuned(tuning(ENABLE_CPU_PINNING="YES")), {"alone": False}, "ENABLE_CPU_PINNING", ("NO", "host")),
        (admin(), {"model": "red-pajama-3b-chat"}, "INFERENCE_PRECISION_HINT", None),
        (
            admin(),
            {"model": "red-pajama-3b-chat", "device": "GPU.1"},
            "INFERENCE_PRECISION_HINT",
            ("f32", "catalog"),
        ),
        (
            admin(),
            {"model": "red-pajama-3b-chat", "device": "AUTO", "present": ("CPU", "GPU.0")},
            "INFERENCE_PRECISION_HINT",
            ("f32", "catalog"),
        ),
        (admin(), {"model": "red-pajama-3b-chat", "device": "AUTO"}, "INFERENCE_PRECISION_HINT", None),
        (
            admin(),
            {"model": "qwen2-7b-instruct", "device": "HETERO:GPU,CPU"},
            "GPU_ENABLE_SDPA_OPTIMIZATION",
            ("NO", "catalog"),
        ),
    ],
)
def test_the_strongest_layer_that_says_something_wins(
    stored: VariantEngine, more: dict[str, object], name: str, expected: tuple[object, str] | None
) -> None:
    assert shown(effective(stored, **more), name) == expected  # type: ignore[arg-type] # a table of keywords


def test_of_two_ways_to_speculate_the_later_layer_s_stays() -> None:
    lower, upper = EngineConfig(max_ngram_size=3), EngineConfig(draft_model="a:b")
    assert merge([Layer("tuning", lower), Layer("admin", upper)]).config == upper
    assert merge([Layer("tuning", upper), Layer("admin", lower)]).config == lower


def test_the_wanted_mode_is_taken_before_the_other_one() -> None:
    both = (tuning("latency", NUM_STREAMS="1"), tuning("throughput", NUM_STREAMS="2"), tuning(device="GPU"))

    def chosen(*tunings: Tuning, wanted: TuningMode = "latency", device: str = "CPU") -> Tuning | None:
        return choose_tuning(tunings, device=device, kind=KIND, wanted=wanted)

    assert chosen(*both) is both[0]
    assert chosen(both[1]) is both[1]
    assert chosen(*both, device="GPU.1", wanted="throughput") is both[2]
    assert chosen(*both, device="NPU") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"properties": {"CACHE_DIR": "/etc"}},
        {"properties": {"ENABLE_CPU_PINNING": "perhaps"}},
        {"properties": {"NUM_STREAMS": 2}},
        {"kv_cache_bytes": GIB, "num_kv_blocks": 3},
        {"draft_model": "a:b", "max_ngram_size": 3},
        {"draft_model": "a"},
        {"max_sequences": 0},
        {"max_sequences": "4"},
        {"max_sequence": 4},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EngineConfig.model_validate(fields)


def test_a_block_of_the_cache_is_counted_from_the_models_configuration() -> None:
    config = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
    assert kv_block_bytes(config, value_bytes=2) == 2 * 2 * 30 * 3 * 64 * 32
    assert kv_block_bytes({"text_config": {**config, "head_dim": 128}}, value_bytes=2) == 2 * 2 * 30 * 3 * 128 * 32


@pytest.fixture
def ground(tmp_path: Path) -> PlanningGround:
    publish_sample_variant(tmp_path / "models")
    settings = InferenceSettings.model_validate({"data_dir": tmp_path})
    return PlanningGround(settings, ModelStore(tmp_path / "models"), load_catalog(), "Some CPU", ("CPU",))


def plan_bytes(ground: PlanningGround, stored: VariantEngine) -> int:
    return plan_load("demo:int8", ground, stored, CoreShare(8, alone=True)).need.kv_cache_bytes


def test_the_memory_that_is_reserved_is_that_of_the_merged_configuration(ground: PlanningGround) -> None:
    assert plan_bytes(ground, admin(kv_cache_bytes=3 * GIB)) == 3 * GIB
    with pytest.raises(LoadFailed, match="kv_cache_bytes instead"):
        plan_bytes(ground, admin(num_kv_blocks=10))


def test_a_draft_model_that_is_not_there_fails_the_load(ground: PlanningGround) -> None:
    with pytest.raises(LoadFailed, match="other:int4 of demo:int8 is not published"):
        plan_bytes(ground, admin(draft_model="other:int4"))


@pytest.mark.parametrize("fields", [{"draft_model": "demo:int8"}, {"max_ngram_size": 3}])
def test_only_the_paged_engine_speculates(ground: PlanningGround, fields: dict[str, object]) -> None:
    settings = InferenceSettings.model_validate({"data_dir": ground.settings.data_dir, "engine": "stateful"})
    other = PlanningGround(settings, ground.store, ground.catalog, "Some CPU", ("CPU",))
    with pytest.raises(LoadFailed, match="the engine stateful cannot do"):
        plan_bytes(other, admin(**fields))


def test_a_variant_is_served_by_the_engine_that_was_found_right_when_it_was_published(ground: PlanningGround) -> None:
    def engine() -> str:
        return plan_load("demo:int8", ground, VariantEngine(), CoreShare(8, alone=True)).engine

    assert engine() == "continuous_batching"
    check = EngineCheck(
        engine="stateful", reference=(1, 2), outputs={"continuous_batching": (1, 9), "stateful": (1, 2)}
    )
    verified = {"verification": Verification(passed=True, engine_check=check)}
    manifest = ground.store.manifest("demo", "int8").model_copy(update=verified)
    (ground.store.variant_dir("demo", "int8") / "manifest.json").write_text(manifest.model_dump_json(), "utf-8")
    assert engine() == "stateful"
