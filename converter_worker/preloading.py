"""The imports that every heavy stage shares, made once in the stage parent.

Importing optimum's exporter makes an `openvino.Core`, which cannot be helped; no device plug-in is loaded by that and
no thread started. Nothing here may do more than import.
"""

import importlib

MODULES = (
    "torch",
    "transformers",
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.convert_slow_tokenizer",
    "openvino",
    "openvino.frontend.pytorch.ts_decoder",
    "openvino_tokenizers",
    "nncf",
    "nncf.quantization.statistics_caching",
    # Whatever else is compressed, nncf looks whether the model is one of torch's.
    "nncf.torch",
    "nncf.quantization.algorithms.weight_compression.openvino_backend",
    "optimum.exporters.tasks",
    "optimum.intel",
    "optimum.intel.openvino.quantization",
    "optimum.exporters.openvino",
    "converter_worker.stages.compiled_variant",
    "converter_worker.stages.compress",
    "converter_worker.stages.download",
    "converter_worker.stages.export",
    "converter_worker.stages.half_precision",
    "converter_worker.stages.quantizer_cache",
    "converter_worker.stages.tokenizer",
    "converter_worker.stages.verify",
)


def preload() -> None:
    """Import all of them."""
    for module in MODULES:
        importlib.import_module(module)
