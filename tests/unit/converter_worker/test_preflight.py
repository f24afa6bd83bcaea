import pytest

from converter_worker.checkpoint_facts import CheckpointFacts, TensorFacts
from converter_worker.prediction import predict
from converter_worker.preflight import check_model, check_recipes, check_resources
from shared.errors import DiskFull, NotCausalLm, OutOfMemory, RecipeUnfit, TokenizerMissing
from shared.schemas.conversion_figures import ConversionFigures, StageFigures
from shared.schemas.converters import ConverterInfo
from shared.schemas.models import Recipe, VariantRequest

GB = 10**9


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


def test_without_shapes_nothing_is_refused() -> None:
    check_recipes(facts(tensors={}), [int4(128)])
    assert predict(facts(tensors={}), [int4(128)]) is None


def converter(memory_bytes: int, disk_free_bytes: int = 1 << 40) -> ConverterInfo:
    return ConverterInfo(
        worker_id=f"w-{memory_bytes}",
        host="host",
        slots=1,
        memory_bytes=memory_bytes,
        free_bytes=memory_bytes,
        disk_free_bytes=disk_free_bytes,
    )


def large(*, int4_bytes: int = 9 * GB) -> ConversionFigures:
    stages = (
        StageFigures(stage="export", memory_bytes=4 * GB, seconds=10),
        StageFigures(stage="compress", variant="int8", memory_bytes=5 * GB, seconds=10),
        StageFigures(stage="compress", variant="int4", memory_bytes=int4_bytes, seconds=10),
    )
    return ConversionFigures(memory_bytes=int4_bytes, disk_bytes=6 * GB, seconds=30, stages=stages)


def test_too_little_memory_names_the_stage_and_what_would_work() -> None:
    with pytest.raises(
        OutOfMemory, match=r"compress stage of int4 needs about 9\.0 GB.*2 converters has 6\.0 GB"
    ) as caught:
        check_resources(large(), [converter(3 * GB), converter(6 * GB)])
    assert "int8 without the other variants, or a converter with more memory" in caught.value.message


def test_where_not_even_the_export_fits_only_a_larger_converter_helps() -> None:
    with pytest.raises(OutOfMemory, match=r"What would work: a converter with more memory"):
        check_resources(large(), [converter(3 * GB)])


def test_one_converter_that_is_large_enough_is_enough() -> None:
    check_resources(large(), [converter(3 * GB), converter(10 * GB)])


def test_too_little_disk_is_told_with_figures() -> None:
    with pytest.raises(DiskFull, match=r"needs about 6\.0 GB .* 5\.0 GB are free.*What would work"):
        check_resources(large(), [converter(16 * GB, 5 * GB)])


def test_memory_counts_only_where_the_disk_is() -> None:
    with pytest.raises(OutOfMemory):
        check_resources(large(), [converter(16 * GB, 1 * GB), converter(4 * GB)])
