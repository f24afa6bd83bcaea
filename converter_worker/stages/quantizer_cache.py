"""The small models that nncf compiles in order to quantize a weight, kept from one weight to the next.

nncf switches its own cache of them off while it compresses, to save memory, and then compiles one for every single
weight: half of the time that compressing a small model takes. Layers of one form need the same one. What is cached
hands out the same output memory every time, so results are copied before the next weight overwrites them; without
that every weight of an int4 model becomes the last one. `tests/e2e/test_export_identity.py` watches over it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

#: Above this size of the weights file compiling is a small part of the time, and memory is what is short.
MAX_WEIGHTS_BYTES = 2 << 30


@contextlib.contextmanager
def kept_quantizers(weights_bytes: int) -> Iterator[None]:
    """Keep the compiled models while the context lasts; does nothing for a large model."""
    if weights_bytes > MAX_WEIGHTS_BYTES:
        yield
        return
    from nncf.openvino.optimized_functions.models import clear_ov_model_cache
    from nncf.quantization.algorithms.weight_compression import openvino_backend

    compress, disable = openvino_backend.compress_weight, openvino_backend.disable_results_caching

    def compress_and_own(*args: Any, **kwargs: Any) -> Any:
        compressed = compress(*args, **kwargs)
        for name in ("tensor", "scale", "zero_point"):
            value = getattr(compressed, name)
            if value is not None:
                setattr(compressed, name, _copy(value))
        return compressed

    openvino_backend.compress_weight = compress_and_own
    openvino_backend.disable_results_caching = lambda cache: contextlib.nullcontext()
    try:
        yield
    finally:
        openvino_backend.compress_weight, openvino_backend.disable_results_caching = compress, disable
        clear_ov_model_cache()


def _copy(tensor: Any) -> Any:
    """Return an nncf tensor with memory of its own."""
    import numpy as np
    import openvino
    from nncf.tensor import Tensor

    if isinstance(tensor.data, openvino.Tensor):
        copy = openvino.Tensor(tensor.data.get_element_type(), tensor.data.get_shape())
        tensor.data.copy_to(copy)
        return Tensor(copy)
    return Tensor(np.array(tensor.data))
