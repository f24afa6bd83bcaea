"""A recipe in the words of optimum and nncf."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from shared.errors import RecipeUnfit
from shared.schemas.models import Recipe, WeightFormat

if TYPE_CHECKING:
    import openvino

#: Operations that may have weights to be compressed.
_WEIGHTED = frozenset({"MatMul", "Gather", "Convolution", "GroupConvolution"})


def quantization_config(weight_format: WeightFormat, recipe: Recipe, source_model: str, model: "openvino.Model") -> Any:
    """Return what `optimum-cli` makes of `--weight-format`, `--sym`, `--group-size`, `--ratio` and the like.

    Raises:
        RecipeUnfit: a pattern of the layers that are to stay as they are names none.
    """
    from optimum.intel import OVWeightQuantizationConfig
    from optimum.intel.openvino.configuration import (
        OVPipelineQuantizationConfig,
        _apply_default_ignored_scope_config,
    )

    ignored = ignored_scope(recipe.ignored_layers, model) if recipe.ignored_layers else None
    if weight_format == "int8":
        config = OVWeightQuantizationConfig(bits=8, sym=bool(recipe.sym), group_size=-1, ignored_scope=ignored)
    else:
        config = OVWeightQuantizationConfig(
            bits=4,
            sym=bool(recipe.sym),
            group_size=recipe.group_size,
            ratio=1.0 if recipe.ratio is None else recipe.ratio,
            ignored_scope=ignored,
            quant_method="awq" if recipe.awq else "default",
            scale_estimation=recipe.scale_estimation,
            gptq=recipe.gptq,
            backup_precision=recipe.backup_precision,
        )
    pipeline = _apply_default_ignored_scope_config(
        source_model, OVPipelineQuantizationConfig(quantization_configs={}, default_config=config)
    )
    return pipeline.quantization_configs.get("model", pipeline.default_config)


def ignored_scope(patterns: tuple[str, ...], model: "openvino.Model") -> dict[str, list[str]]:
    """Return nncf's ignored scope of the layers whose names fit a pattern.

    Raises:
        RecipeUnfit: a pattern fits none; the message names some layers.
    """
    names = {op.get_friendly_name(): "" for op in model.get_ops() if op.get_type_name() in _WEIGHTED}
    # `__module.model.layers.0.mlp.down_proj/ov_ext::linear/MatMul` is `model.layers.0.mlp.down_proj` to people.
    layers = {name: name.removeprefix("__module.").partition("/")[0] for name in names}
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name, layer in layers.items() if fnmatchcase(name, pattern) or fnmatchcase(layer, pattern)}
        if not fitting:
            some = sorted({layer for layer in layers.values() if layer.startswith("model.")} or set(layers.values()))
            raise RecipeUnfit(
                f"No layer is named {pattern!r}. There are {', '.join(some[:4])}, …; `*` stands for any text.",
                param="recipe.ignored_layers",
            )
        found |= fitting
    return {"names": sorted(found)}
