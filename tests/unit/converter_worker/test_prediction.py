"""What headers foretell, compared with what was measured on real checkpoints."""

import math

import pytest

from converter_worker.checkpoint_facts import CheckpointFacts, TensorFacts
from converter_worker.cost_model import LIBRARIES_BYTES, compress, export, quality_bytes, together_bytes, unpack
from converter_worker.demo_model import find_packaged_gguf
from converter_worker.gguf_header import read_gguf_header
from converter_worker.prediction import needed_bytes, predict, predict_gguf, predict_import, ticket_bytes
from converter_worker.weight_sizes import weight_sizes
from shared.schemas.models import Recipe, VariantRequest
from tests.helpers import large_llama

MB = 10**6
FP16 = VariantRequest(name="fp16", weight_format="fp16")
INT8 = VariantRequest(name="int8", weight_format="int8", recipe=Recipe(sym=False))
INT4 = VariantRequest(name="int4", weight_format="int4", recipe=Recipe(sym=False, group_size=32, ratio=1.0))


def llama(dtype: str, hidden: int, layers: int, vocabulary: int = 384) -> CheckpointFacts:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}self_attn.q_proj.weight": (hidden, hidden),
            f"{prefix}self_attn.k_proj.weight": (hidden // 2, hidden),
            f"{prefix}self_attn.v_proj.weight": (hidden // 2, hidden),
            f"{prefix}self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}mlp.gate_proj.weight": (2 * hidden, hidden),
            f"{prefix}mlp.up_proj.weight": (2 * hidden, hidden),
            f"{prefix}mlp.down_proj.weight": (hidden, 2 * hidden),
            f"{prefix}input_layernorm.weight": (hidden,),
            f"{prefix}post_attention_layernorm.weight": (hidden,),
        }
    tensors = {name: TensorFacts(dtype=dtype, shape=shape) for name, shape in shapes.items()}
    return CheckpointFacts({"vocab_size": vocabulary, "model_type": "llama"}, tensors, True)


def large() -> CheckpointFacts:
    tensors = {
        name: TensorFacts(dtype="F16", shape=shape)
        for shard in large_llama.checkpoint_shards()
        for name, shape in shard.items()
    }
    return CheckpointFacts(large_llama.CONFIG, tensors, True)


#: Peaks in MB of real conversions with the stage runner: export, compress to int8 and int4, verify fp16, int8 and int4.
MEASURED = [
    (llama("BF16", 128, 2), (537, 485, 486, 492, 493, 494)),
    (llama("F16", 1024, 8), (754, 720, 699, 800, 652, 602)),
    (llama("F32", 1024, 8), (885, 871, 854, 953, 652, 602)),
    (llama("F16", 512, 16), (763, 617, 626, 657, 587, 562)),
    (large(), (3207, 4028, 3624, 4824, 2698, 2024)),
]


@pytest.mark.parametrize(("facts", "measured"), MEASURED)
def test_memory_is_foretold_within_a_tenth_of_what_was_measured(
    facts: CheckpointFacts, measured: tuple[int, ...]
) -> None:
    figures = predict(facts, [FP16, INT8, INT4])
    assert figures is not None
    stages = [("export", None), ("compress", "int8"), ("compress", "int4")]
    stages += [("verify", name) for name in ("fp16", "int8", "int4")]
    foretold = [needed_bytes(figures, stage, variant) / MB for stage, variant in stages]
    assert foretold == pytest.approx(measured, rel=0.1)
    assert figures.memory_bytes / MB == pytest.approx(max(measured), rel=0.1)


@pytest.mark.parametrize(
    ("facts", "measured"),
    [
        (llama("F16", 1024, 8), (152_568_581, 76_483_589, 44_436_549)),
        (llama("F32", 1024, 8), (152_568_581, 76_483_589, 44_436_549)),
        (large(), (2_340_422_037, 1_171_688_853, 761_758_165)),
    ],
)
def test_sizes_of_the_weights_files(facts: CheckpointFacts, measured: tuple[int, ...]) -> None:
    sizes = weight_sizes(facts)
    assert sizes is not None
    assert [sizes.variant_bytes(request) for request in (FP16, INT8, INT4)] == pytest.approx(measured, rel=0.02)


def test_stacked_experts_become_float32_on_the_way() -> None:
    """GPT-OSS comes in 4 bits, is loaded in bfloat16, exported in float32, and made smaller again."""
    experts, rows, columns = 4, 512, 128
    packed = {
        "model.layers.0.mlp.experts.gate_up_proj_blocks": TensorFacts(
            dtype="U8", shape=(experts, rows, columns // 32, 16)
        ),
        "model.layers.0.mlp.experts.gate_up_proj_scales": TensorFacts(dtype="U8", shape=(experts, rows, columns // 32)),
    }
    loaded = {"model.layers.0.mlp.experts.gate_up_proj": TensorFacts(dtype="BF16", shape=(experts, rows, columns))}
    sizes, same = (weight_sizes(CheckpointFacts({}, tensors, True)) for tensors in (packed, loaded))
    assert sizes is not None
    assert sizes == same
    assert (sizes.base_bytes, sizes.half_bytes) == (4 * sizes.elements, 2 * sizes.elements)
    assert not sizes.is_float16, "the fp16 variant is a file of its own"


def test_fp16_costs_no_disk_beside_a_float16_base() -> None:
    alone, with_fp16 = (predict(llama("F16", 512, 4), variants) for variants in ([INT8], [INT8, FP16]))
    assert alone is not None
    assert with_fp16 is not None
    assert alone.disk_bytes == with_fp16.disk_bytes
    rounded = [predict(llama("BF16", 512, 4), variants) for variants in ([INT8], [INT8, FP16])]
    assert rounded[0] is not None
    assert rounded[1] is not None
    assert (rounded[1].disk_bytes or 0) > (rounded[0].disk_bytes or 0)


def test_half_the_layers_in_eight_bits_is_between() -> None:
    sizes = weight_sizes(llama("F16", 1024, 8))
    assert sizes is not None
    mixed = INT4.model_copy(update={"recipe": Recipe(sym=False, group_size=32, ratio=0.5)})
    low, middle, high = (sizes.variant_bytes(request) for request in (INT4, mixed, INT8))
    assert math.isclose(middle, (low + high) / 2, rel_tol=0.01)


def test_what_a_recipe_leaves_as_it_is_keeps_its_size() -> None:
    sizes = weight_sizes(llama("F16", 1024, 8))
    assert sizes is not None
    layers = len([name for name in sizes.layers if ".layers.0." in name])
    assert layers > 0
    none_left = Recipe(sym=False, group_size=32, backup_precision="none")
    plain, tables_left, first_left, all_left = (
        sizes.variant_bytes(INT4.model_copy(update={"recipe": recipe}))
        for recipe in (
            Recipe(sym=False, group_size=32),
            none_left,
            Recipe(sym=False, group_size=32, ignored_layers=("*.layers.0.*",)),
            Recipe(sym=False, group_size=32, ignored_layers=("*",)),
        )
    )
    assert tables_left - plain == sizes.table_elements, "two bytes instead of one"
    first = sum(elements for name, elements in sizes.layers.items() if ".layers.0." in name)
    assert first_left - plain == pytest.approx(first * (2 - (4 + 20 / 32) / 8), rel=0.01)
    assert all_left == pytest.approx(sizes.half_bytes, rel=0.03)


def test_a_large_file_is_unpacked_in_the_memory_of_its_shards() -> None:
    """The accident: eight billion parameters are foretold twice what they take, and refused where they fit."""
    sizes = weight_sizes(llama("F16", 4096, 32))
    assert sizes is not None
    assert sizes.half_bytes > 8e9
    assert unpack(sizes).memory_bytes < 1.2 * max(export(sizes).memory_bytes, compress(sizes, INT8).memory_bytes)


def test_an_import_needs_what_its_verification_does() -> None:
    figures = predict_import(16_000_000_000, INT8)
    assert needed_bytes(figures, "verify", "int8") == figures.memory_bytes > 16e9
    assert needed_bytes(predict_import(16_000_000_000, INT8, compares_engines=True), "verify", "int8") > 33e9


def test_compressions_side_by_side_share_their_libraries() -> None:
    figures = predict(large(), [INT8, INT4], slots=2)
    assert figures is not None
    peaks = [needed_bytes(figures, "compress", name) for name in ("int8", "int4")]
    assert figures.memory_bytes == sum(peaks) - LIBRARIES_BYTES == together_bytes(peaks)


def test_a_delivery_needs_what_its_largest_stage_does() -> None:
    figures = predict(large(), [INT8, INT4])
    assert ticket_bytes(figures, "export", None) == needed_bytes(figures, "export", None)
    assert ticket_bytes(figures, "compress", "int4") == needed_bytes(figures, "compress", "int4")
    assert ticket_bytes(figures, "verify", None) == needed_bytes(figures, "verify", "int8")
    assert ticket_bytes(figures, "publish", None) == ticket_bytes(None, "export", None) == 0


def test_a_family_that_nobody_measured_is_loaded_by_every_engine() -> None:
    usual, checked = predict(large(), [INT8]), predict(large(), [INT8], compares_engines=True)
    assert usual is not None
    assert checked is not None
    check = needed_bytes(checked, "verify", "int8", "engine_check")
    assert ticket_bytes(checked, "verify", None) == check > needed_bytes(checked, "verify", "int8")
    assert ticket_bytes(usual, "verify", None) == needed_bytes(usual, "verify", "int8")


def test_what_runs_the_model_over_texts_stays_below_what_it_is_let_in_with() -> None:
    """Measured on the demo model: int4 with AWQ over 128 texts of 256 tokens, and a card of its fp16 variant."""
    file = find_packaged_gguf()
    assert file is not None
    awq = VariantRequest(
        name="int4", weight_format="int4", recipe=Recipe(sym=False, group_size=64, ratio=0.8, awq=True, dataset=("a",))
    )
    figures = predict_gguf(read_gguf_header(file).tensors, [awq])
    assert 1438 * MB < needed_bytes(figures, "compress", "int4") < 1.25 * 1438 * MB
    by_guess = awq.model_copy(update={"recipe": awq.recipe.model_copy(update={"dataset": None})})
    figures = predict_gguf(read_gguf_header(file).tensors, [by_guess])
    assert needed_bytes(figures, "compress", "int4") == pytest.approx(1161 * MB, rel=0.1)
    assert 1158 * MB < quality_bytes(269_100_677) < 1.25 * 1158 * MB


def test_a_slow_host_takes_longer_and_no_more_memory() -> None:
    usual, slow = predict(large(), [INT8]), predict(large(), [INT8], speed=3.0)
    assert usual is not None
    assert slow is not None
    assert slow.seconds == pytest.approx(3 * usual.seconds, rel=0.01)
    assert slow.memory_bytes == usual.memory_bytes
