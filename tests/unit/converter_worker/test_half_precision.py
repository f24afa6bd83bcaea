"""Which constants of a model become float16."""

import numpy as np
import openvino
from openvino import Type, opset13

from converter_worker.stages.half_precision import is_half_precision, round_to_half_precision


def test_a_stored_weight_becomes_float16_and_a_constant_that_is_computed_with_stays() -> None:
    """Falcon's ALiBi slopes are computed in bfloat16: float16 there would not fit what they are multiplied with."""
    taken = opset13.parameter([1, 4], Type.f32, name="taken")
    weight = opset13.constant(np.ones((4, 4), dtype=np.float32), Type.bf16)
    slopes = opset13.constant(np.ones((1, 4), dtype=np.float32), Type.bf16)
    product = opset13.matmul(taken, opset13.convert(weight, Type.f32), False, False)
    sloped = opset13.multiply(opset13.convert(product, Type.bf16), slopes)
    model = openvino.Model([opset13.convert(sloped, Type.f32)], [taken], "tiny")
    assert not is_half_precision(model)
    round_to_half_precision(model)
    assert is_half_precision(model)
    constants = [operation for operation in model.get_ops() if operation.get_type_name() == "Constant"]
    assert {str(constant.get_output_shape(0)): constant.get_element_type() for constant in constants} == {
        "[4,4]": Type.f16,
        "[1,4]": Type.bf16,
    }
    compiled = openvino.Core().compile_model(model, "CPU")
    assert compiled(np.ones((1, 4), dtype=np.float32))[0].tolist() == [[4.0, 4.0, 4.0, 4.0]]
