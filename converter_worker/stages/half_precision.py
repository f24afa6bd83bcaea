"""The fp16 variant of a base IR: weights in float16, every other constant as it is.

`save_model(compress_to_fp16=True)`, which the command line uses, also rounds rotary frequencies and normalization; a
phase error of up to 0.76 rad at position 8,192 is what that costs. Here only weights are rounded, as an export of the
checkpoint in float16 would do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

#: A float32 constant is taken for a weight from this many elements on; smaller ones are worth no rounding.
_MIN_WEIGHT_ELEMENTS = 1024


def read_model(xml_file: Path) -> "openvino.Model":
    """Read an IR; its weights stay mapped from the file."""
    import openvino

    return openvino.Core().read_model(xml_file)


def half_precision_bytes(model: "openvino.Model") -> int:
    """Return how many bytes smaller the weights file of the fp16 variant is than that of `model`."""
    saved = 0
    for constant in _weights(model):
        if constant.get_element_type().size == 4:
            saved += constant.get_byte_size() // 2
    return saved


def is_half_precision(model: "openvino.Model") -> bool:
    """Tell whether the weights are float16 already, so that the base itself is the fp16 variant."""
    return next(_weights(model), None) is None


def round_to_half_precision(model: "openvino.Model") -> None:
    """Replace the model's bfloat16 and float32 weights by float16 ones, in place."""
    import numpy as np
    from openvino import Type, opset13

    for constant in list(_weights(model)):
        values = constant.get_data(dtype=np.float32).astype(np.float16)
        half = opset13.constant(values, Type.f16)
        half.set_friendly_name(constant.get_friendly_name())
        targets = constant.output(0).get_target_inputs()
        if constant.get_element_type() == Type.f32:
            half = opset13.convert(half, Type.f32)
        for target in targets:
            target.replace_source_output(half.output(0))
    model.validate_nodes_and_infer_types()


def _weights(model: "openvino.Model") -> Iterator["openvino.Node"]:
    """Yield the weights that are not float16: bfloat16 constants, and the float32 ones of MatMul and Gather."""
    from openvino import Type

    for operation in model.get_ops():
        if operation.get_type_name() != "Constant":
            continue
        element_type = operation.get_element_type()
        if (element_type == Type.bf16 and _is_decompressed(operation)) or (
            element_type == Type.f32 and _is_float32_weight(operation)
        ):
            yield operation


def _is_decompressed(constant: "openvino.Node") -> bool:
    """Tell whether a constant is only stored in its precision; another one is computed in it, as Falcon does."""
    targets = constant.output(0).get_target_inputs()
    return all(target.get_node().get_type_name() == "Convert" for target in targets)


def _is_float32_weight(constant: "openvino.Node") -> bool:
    shape = constant.get_output_shape(0)
    if len(shape) < 2 or constant.get_byte_size() < 4 * _MIN_WEIGHT_ELEMENTS:
        return False
    # The table of a Gather is its first input; a MatMul takes its weight as the second.
    wanted = {"MatMul": 1, "Gather": 0}
    targets = constant.output(0).get_target_inputs()
    return all(wanted.get(target.get_node().get_type_name()) == target.get_index() for target in targets)
