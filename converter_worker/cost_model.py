"""What a stage costs, as constants that were measured, and the formulas they stand in.

Measured with the stage runner on random llamas (2 to 22 layers, 0.4M to 1.2B parameters, in float16, bfloat16 and
float32) and on the demo model; `tests/large`, `tests/families` and `tests/e2e/test_demo_figures.py` compare the
formulas with measurements. Memory is the kernel's peak of the stage's process. Seconds are those of two cores of an AMD
EPYC with nothing beside them; a converter corrects them by what its own jobs took.
"""

from collections.abc import Callable

from converter_worker.sharded_weights import SHARD_BYTES
from converter_worker.stages.quantizer_cache import MAX_WEIGHTS_BYTES
from converter_worker.weight_sizes import WeightSizes
from shared.schemas.conversion_figures import Stage, StageFigures
from shared.schemas.models import VariantRequest

#: A child before it does anything: torch, transformers, openvino, nncf and optimum, most of it shared with its parent.
LIBRARIES_BYTES = 450_000_000
#: The parent's own pages and the worker's process, which stay beside every child. Measured: 150 and 130 MB.
STANDING_BYTES = 320_000_000

_TOKENIZER_BYTES, _TOKEN_BYTES = 453_000_000, 1_200
#: Tracing keeps a graph in Python, in TorchScript and in OpenVINO: the same for a weight of any size.
_EXPORT_BYTES, _EXPORT_TENSOR_BYTES = 509_000_000, 1_210_000
_COMPRESS_BYTES = 486_000_000
#: The base is mapped and read to its end, and the compressed weights are held until they are written.
_COMPRESSED_COPIES = 1.05
_INT8_TENSOR_BYTES, _INT4_TENSOR_BYTES = 100_000, 300_000
_AWQ_COPIES = 0.8
#: A last layer of its own comes when everything else is held: nncf has it in float32, twice where its compiled
#: quantizers are kept (`stages/quantizer_cache.py`).
_LAST_LAYER_ELEMENT_BYTES = 8
_HALF_BYTES, _HALF_TENSOR_BYTES = 453_000_000, 100_000
_VERIFY_BYTES, _VERIFY_TENSOR_BYTES = 492_000_000, 250_000
#: The file is mapped and the CPU plug-in makes a copy in its own layout: in float32 for weights that came in float32.
_VERIFY_COPIES, _VERIFY_COPIES_OF_FLOAT32 = 1.9, 2.9
#: Each engine gives back what it took before the next one comes. Measured: 540 MB for a tiny Falcon, 1,145 for the demo
#: model in fp16 (269 MB), which verify loads in 1,070.
_CHECK_BYTES, _CHECK_COPIES = 530_000_000, 2.1
#: Of a card, whose host has the logits of one text beside the model. Measured: 1,158 MB for the demo model in fp16.
_QUALITY_BYTES, _QUALITY_COPIES = 650_000_000, 2.1


def unpack(sizes: WeightSizes) -> StageFigures:
    """A GGUF file is mapped and read to its end; its weights in float16 are held, and copied, a shard at a time.

    What is mapped of a file of one shard was measured together with the copies.
    """
    of_shards = 2 * (SHARD_BYTES + 2 * sizes.largest_elements) + sizes.checkpoint_bytes
    memory = LIBRARIES_BYTES + min(2 * sizes.half_bytes, of_shards) + 4 * sizes.largest_elements
    return _figures("download", None, memory, 1.0 + 8e-9 * sizes.half_bytes, part="gguf")


def tokenizer(sizes: WeightSizes) -> StageFigures:
    """Loading and converting the tokenizer."""
    memory = _TOKENIZER_BYTES + sizes.vocabulary * _TOKEN_BYTES
    return _figures("tokenizer", None, memory, 0.45 + 20e-6 * sizes.vocabulary)


def export(sizes: WeightSizes) -> StageFigures:
    """The weights are mapped, not copied; the base IR is written from the mapping, and from what was widened."""
    weights = sizes.checkpoint_bytes + 4 * sizes.widened_elements
    memory = _EXPORT_BYTES + weights + sizes.tensors * _EXPORT_TENSOR_BYTES
    return _figures("export", None, memory, 1.3 + 0.02 * sizes.tensors + 2.5e-9 * sizes.checkpoint_bytes)


def compress(sizes: WeightSizes, request: VariantRequest) -> StageFigures:
    """The base is mapped and read; the new weights are made beside it."""
    if request.weight_format == "fp16":
        return _round(sizes, request)
    memory = _COMPRESS_BYTES + sizes.base_bytes + _compressed_bytes(sizes, request)
    return _figures("compress", request.name, memory, 0.5 + 0.004 * sizes.tensors + 5e-9 * sizes.half_bytes)


def _compressed_bytes(sizes: WeightSizes, request: VariantRequest) -> int:
    of_tensor = _INT8_TENSOR_BYTES if request.weight_format == "int8" else _INT4_TENSOR_BYTES
    held = int(_COMPRESSED_COPIES * sizes.variant_bytes(request)) + of_tensor * sizes.tensors
    if request.recipe.dataset is not None:
        # It runs the base over its texts, as verify runs a variant that came in float32. A bound: 1,717 MB for the demo
        # model, where AWQ over 128 texts took 1,438 and scale estimation over 24 took 1,388.
        held += int(_VERIFY_COPIES_OF_FLOAT32 * sizes.half_bytes)
    elif request.recipe.awq:
        # Without texts: 1,161 MB for the demo model.
        held += int(_AWQ_COPIES * sizes.half_bytes)
    if sizes.base_bytes > MAX_WEIGHTS_BYTES:
        return held
    return held + _LAST_LAYER_ELEMENT_BYTES * sizes.last_layer_elements


def _round(sizes: WeightSizes, request: VariantRequest) -> StageFigures:
    if sizes.is_float16:
        # The base is the variant: its files are linked.
        return _figures("compress", request.name, _HALF_BYTES + sizes.tensors * _HALF_TENSOR_BYTES, 0.3)
    memory = _HALF_BYTES + sizes.base_bytes + sizes.half_bytes + 4 * sizes.largest_elements
    return _figures(
        "compress", request.name, memory + sizes.tensors * _HALF_TENSOR_BYTES, 0.3 + 6e-9 * sizes.half_bytes
    )


def verify(sizes: WeightSizes, request: VariantRequest) -> StageFigures:
    """The variant is loaded on the CPU and generates ten tokens."""
    own = sizes.variant_bytes(request)
    of_float32 = sizes.is_float32 and request.weight_format == "fp16"
    copies = _VERIFY_COPIES_OF_FLOAT32 if of_float32 else _VERIFY_COPIES
    memory = _VERIFY_BYTES + int(copies * own) + sizes.tensors * _VERIFY_TENSOR_BYTES
    return _figures("verify", request.name, memory, 0.2 + 0.003 * sizes.tensors + 1.2e-9 * own)


def engine_check(sizes: WeightSizes, request: VariantRequest) -> StageFigures:
    """The variant is loaded in one engine after another, in float32, by the libraries of its version stack."""
    own = sizes.variant_bytes(request)
    memory = _CHECK_BYTES + int(_CHECK_COPIES * own) + sizes.tensors * _VERIFY_TENSOR_BYTES
    return _figures("verify", request.name, memory, 3.0 + 0.01 * sizes.tensors + 5e-9 * own, part="engine_check")


def quality_bytes(reference_bytes: int) -> int:
    """Return the peak of a comparison with an FP16 model: its weights become float32, one text's logits are held."""
    return _QUALITY_BYTES + int(_QUALITY_COPIES * reference_bytes)


def peak_bytes(stages: tuple[StageFigures, ...], slots: int) -> int:
    """Return the most memory of stages that run one after the other, compressions `slots` at a time.

    Side by side, their peaks are added as if they came at one moment; the libraries that they share count once.
    """
    alone = max((stage.memory_bytes for stage in stages), default=0)
    compressions = sorted((stage.memory_bytes for stage in stages if stage.stage == "compress"), reverse=True)
    return max(alone, together_bytes(compressions[:slots]))


def together_bytes(peaks: list[int]) -> int:
    """Return what processes with these peaks take at one time, the libraries that they share counted once."""
    if len(peaks) < 2:
        return sum(peaks)
    return LIBRARIES_BYTES + sum(max(0, peak - LIBRARIES_BYTES) for peak in peaks)


def imported(weights_bytes: int, request: VariantRequest, *, compares_engines: bool) -> tuple[StageFigures, ...]:
    """The stages of ready-made IR: verify loads it, and the engines where they are compared."""
    memory, seconds = _VERIFY_BYTES + int(_VERIFY_COPIES * weights_bytes), 1.0 + 1.2e-9 * weights_bytes
    if compares_engines:
        memory = max(memory, _CHECK_BYTES + int(_CHECK_COPIES * weights_bytes))
    return (_figures("verify", request.name, memory, seconds),)


COSTS_OF_VARIANT: tuple[Callable[[WeightSizes, VariantRequest], StageFigures], ...] = (compress, verify)


def _figures(
    stage: Stage, variant: str | None, memory_bytes: int, seconds: float, *, part: str | None = None
) -> StageFigures:
    return StageFigures(stage=stage, variant=variant, part=part, memory_bytes=memory_bytes, seconds=round(seconds, 2))
