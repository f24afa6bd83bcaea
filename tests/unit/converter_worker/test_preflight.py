from pathlib import Path

import pytest

from converter_worker.checkpoint_facts import CheckpointFacts, TensorFacts
from converter_worker.preflight import available_memory_bytes, check_model, check_recipes, check_resources
from shared.errors import DiskFull, NotCausalLm, OutOfMemory, RecipeUnfit, TokenizerMissing
from shared.schemas.models import Recipe, VariantRequest


def facts(*, channels: int = 576, **changes: object) -> CheckpointFacts:
    values: dict[str, object] = {
        "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
        "tensors": {
            "model.embed_tokens.weight": TensorFacts(dtype="BF16", shape=(1000, 77)),
            "model.layers.0.mlp.up_proj.weight": TensorFacts(dtype="BF16", shape=(1536, channels)),
            "model.layers.0.mlp.down_proj.weight": TensorFacts(dtype="BF16", shape=(channels, 1536)),
            "model.layers.0.input_layernorm.weight": TensorFacts(dtype="BF16", shape=(channels,)),
        },
        "has_tokenizer": True,
        **changes,
    }
    return CheckpointFacts(**values)  # type: ignore[arg-type]


def int4(group_size: int) -> VariantRequest:
    return VariantRequest(name="int4", weight_format="int4", recipe=Recipe(group_size=group_size))


@pytest.mark.parametrize("architectures", [["LlamaForCausalLM"], ["GPT2LMHeadModel"], []])
def test_a_causal_language_model_passes(architectures: list[str]) -> None:
    check_model(facts(config={"architectures": architectures}))


def test_remote_code_may_name_its_own_class() -> None:
    check_model(facts(config={"architectures": ["ChatGLMModel"], "auto_map": {"AutoModelForCausalLM": "m.C"}}))


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "T5ForConditionalGeneration", "CLIPModel"])
def test_another_kind_of_model_is_named(architecture: str) -> None:
    with pytest.raises(NotCausalLm, match=architecture):
        check_model(facts(config={"architectures": [architecture]}))


def test_a_tokenizer_is_needed() -> None:
    with pytest.raises(TokenizerMissing):
        check_model(facts(has_tokenizer=False))


def test_a_group_size_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(RecipeUnfit, match=r"does not divide 576.*64, 32, -1") as caught:
        check_recipes(facts(), [int4(128)])
    assert caught.value.param == "variants.recipe.group_size"


@pytest.mark.parametrize("group_size", [64, 32, -1])
def test_a_group_size_that_divides_passes(group_size: int) -> None:
    check_recipes(facts(), [int4(group_size), VariantRequest(name="int8", weight_format="int8")])


def test_without_shapes_nothing_is_refused(tmp_path: Path) -> None:
    check_recipes(facts(tensors={}), [int4(128)])
    check_resources(facts(tensors={}), [int4(128)], tmp_path, 0)


def test_too_little_memory_is_told_with_figures(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"needs about 0\.5 GB of memory, 0\.1 GB"):
        check_resources(facts(), [int4(64)], tmp_path, 100 << 20)


def test_too_little_disk_is_told_with_figures(tmp_path: Path) -> None:
    huge = {"w": TensorFacts(dtype="F32", shape=(10_000_000, 10_000_000))}
    with pytest.raises(DiskFull, match=r"needs about [\d.]+ GB"):
        check_resources(facts(tensors=huge), [int4(64)], tmp_path, None)


def test_what_fits_passes(tmp_path: Path) -> None:
    check_resources(facts(), [int4(64)], tmp_path, 8 << 30)


def test_this_machine_tells_its_memory() -> None:
    memory = available_memory_bytes()
    assert memory is None or memory > 0
