"""How large the files of a conversion will be, from the shapes and precisions of a checkpoint's weights alone."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from converter_worker.checkpoint_facts import DTYPE_BYTES, CheckpointFacts, TensorFacts
from shared.schemas.models import Recipe, VariantRequest

#: Tables and the last layer stay in 8 bits in an int4 variant; so does whatever is no matrix stay as it is.
_STAYS_INT8 = re.compile(r"(embed|token_embd|lm_head|wte|wpe|embed_out|output_layer|^output\.weight)")
_LAST_LAYER = re.compile(r"(lm_head|embed_out|output_layer|^output\.weight)")
#: nncf's own group size where neither the recipe nor the catalogue names one.
_DEFAULT_GROUP_SIZE = 128
#: An int4 group's scale in float16 and, where asymmetric, its zero point; an int8 row's scale and zero point.
_GROUP_SCALE_BITS, _GROUP_ZERO_POINT_BITS, _ROW_BYTES = 16, 4, 3
#: Experts, inputs and outputs of a weight that holds all experts of a layer.
_STACKED_DIMENSIONS = 3
#: Of the IR's description and the configuration, per weight; measured: 7.4-10 kB with 2 to 30 layers of llama.
_DESCRIPTION_BYTES = 10_000
#: Of tokenizer.json and the tokenizer's IR, per token; measured: 7.4 MB with 49,152 tokens.
_TOKEN_BYTES = 150


@dataclass(frozen=True)
class WeightSizes:
    """Bytes of the weights in each form; all that a checkpoint's headers tell of its size.

    `widened_elements` are those of 16 bits that the exporter makes float32: experts that are stacked in one weight.
    `is_float16` is about the base IR, which then is the fp16 variant. `layers` are the elements of all that is
    compressed, tables included, by the names that recipes call them.
    """

    checkpoint_bytes: int
    widened_elements: int
    elements: int
    matrix_elements: int
    table_elements: int
    last_layer_elements: int
    largest_elements: int
    rows: int
    tensors: int
    vocabulary: int
    is_float16: bool
    is_float32: bool
    layers: Mapping[str, int] = field(default_factory=dict)

    @property
    def base_bytes(self) -> int:
        """The base IR, which keeps the checkpoint's precision of all that is not widened."""
        return self.checkpoint_bytes + 2 * self.widened_elements

    @property
    def half_bytes(self) -> int:
        """The fp16 variant: everything in two bytes."""
        return 2 * self.elements

    @property
    def description_bytes(self) -> int:
        """A variant's files beside the weights."""
        return self.tensors * _DESCRIPTION_BYTES

    @property
    def tokenizer_bytes(self) -> int:
        """The tokenizer's files, which variants share by hard links."""
        return self.vocabulary * _TOKEN_BYTES

    def variant_bytes(self, request: VariantRequest) -> int:
        """Return the size of a variant's weights file."""
        if request.weight_format == "fp16":
            return self.half_bytes
        # What is no matrix (normalization, biases) keeps its precision, four bytes at most.
        rest = 4 * (self.elements - self.matrix_elements - self.table_elements)
        kept_bytes = 4 if self.is_float32 else 2
        kept_tables, kept_matrices = self._kept_elements(request.recipe)
        rest += kept_bytes * (kept_tables + kept_matrices) + self.rows * _ROW_BYTES
        tables, matrices = self.table_elements - kept_tables, self.matrix_elements - kept_matrices
        if request.weight_format == "int8":
            return matrices + tables + rest
        share = 1.0 if request.recipe.ratio is None else request.recipe.ratio
        backup_bytes = kept_bytes if request.recipe.backup_precision == "none" else 1
        four_bits = matrices * self._group_bits(request.recipe) / 8
        return int(share * four_bits + backup_bytes * ((1 - share) * matrices + tables) + rest)

    def _kept_elements(self, recipe: Recipe) -> tuple[int, int]:
        """Return the elements of tables and of other matrices that a recipe leaves as they are."""
        kept = {
            layer: elements
            for layer, elements in self.layers.items()
            if any(fnmatchcase(layer, pattern) for pattern in recipe.ignored_layers or ())
        }
        tables = sum(elements for layer, elements in kept.items() if _STAYS_INT8.search(layer))
        return tables, sum(kept.values()) - tables

    def _group_bits(self, recipe: Recipe) -> float:
        group_size = recipe.group_size or _DEFAULT_GROUP_SIZE
        if group_size == -1:
            return 4.0
        return 4 + (_GROUP_SCALE_BITS + (0 if recipe.sym else _GROUP_ZERO_POINT_BITS)) / group_size


def weight_sizes(facts: CheckpointFacts) -> WeightSizes | None:
    """Add up what the headers say; None where there are none to read."""
    if not facts.tensors:
        return None
    tensors = _unpacked(facts.tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    elements = {name: math.prod(shape) for name, shape in shapes.items()}
    layers = {name for name, shape in shapes.items() if len(shape) >= 2 and name.endswith(("weight", "proj"))}
    tables = {name for name in layers if _STAYS_INT8.search(name)}
    stacked = {name for name, shape in shapes.items() if len(shape) == _STACKED_DIMENSIONS and min(shape) > 1}
    vocabulary = facts.config.get("vocab_size")
    return WeightSizes(
        checkpoint_bytes=sum(tensor_bytes(tensor) for tensor in tensors.values()),
        widened_elements=sum(elements[name] for name in stacked if tensors[name].dtype in ("BF16", "F16")),
        elements=sum(elements.values()),
        matrix_elements=sum(elements[name] for name in layers - tables),
        table_elements=sum(elements[name] for name in tables),
        last_layer_elements=sum(elements[name] for name in tables if _LAST_LAYER.search(name)),
        largest_elements=max(elements.values()),
        rows=sum(math.prod(shapes[name][:-1]) for name in layers),
        tensors=len(shapes),
        vocabulary=vocabulary if isinstance(vocabulary, int) else 0,
        is_float16=not stacked and any(tensor.dtype == "F16" for tensor in tensors.values()),
        is_float32=any(tensor.dtype in ("F32", "F64") and len(tensor.shape) > 1 for tensor in tensors.values()),
        layers={name.removesuffix(".weight"): elements[name] for name in layers},
    )


def _unpacked(tensors: Mapping[str, TensorFacts]) -> dict[str, TensorFacts]:
    """Return the weights as they are loaded: MXFP4, two numbers a byte and a scale for each block, becomes bfloat16."""
    unpacked: dict[str, TensorFacts] = {}
    for name, tensor in tensors.items():
        weight = name.removesuffix("_blocks")
        if weight != name and tensor.dtype == "U8":
            *outer, blocks, block_bytes = tensor.shape
            unpacked[weight] = TensorFacts(dtype="BF16", shape=(*outer, 2 * blocks * block_bytes))
        elif f"{name.removesuffix('_scales')}_blocks" not in tensors:
            unpacked[name] = tensor
    return unpacked


def tensor_bytes(tensor: TensorFacts) -> int:
    """Return the size of one weight in the checkpoint."""
    return math.prod(tensor.shape) * DTYPE_BYTES.get(tensor.dtype, 2)
