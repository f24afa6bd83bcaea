"""The recipe by which ready-made IR was compressed, as far as it says itself: in its rt_info, or in the file beside it.

What nncf notes there becomes the fields of a recipe of our own; a method that was not used is left open, as requests
leave it. What a recipe has no field for is named beside it.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from pydantic import ValidationError

from shared.schemas.models import Recipe, RecipeOrigin, WeightFormat

_COMPRESSION = "nncf/weight_compression"
_METHODS = ("awq", "scale_estimation", "gptq")
_WITHOUT_FIELD = ("lora_correction",)
#: In this order: how many samples there are says something only beside a dataset.
_FIELDS: Mapping[WeightFormat, tuple[str, ...]] = {
    "fp16": (),
    "int8": ("sym", "ignored_layers"),
    "int4": (
        *("sym", "group_size", "ratio", "backup_precision", *_METHODS),
        *("dataset", "samples", "ignored_layers"),
    ),
}


@dataclass(frozen=True)
class IrRecipe:
    """`methods` are those that a recipe has no field for."""

    recipe: Recipe
    origin: RecipeOrigin
    methods: tuple[str, ...] = ()


def read_recipe(
    information: ElementTree.Element | None, config: Mapping[str, object], weight_format: WeightFormat
) -> IrRecipe:
    """Return what the IR's rt_info says of its recipe, else what the quantization part of openvino_config.json does."""
    if weight_format == "fp16":
        return IrRecipe(Recipe(), "weights")
    said = _of_rt_info(information)
    origin: RecipeOrigin = "rt_info"
    if not said:
        said, origin = _of_config(config), "openvino_config"
    if not said:
        return IrRecipe(Recipe(), "weights")
    methods = tuple(name for name in _WITHOUT_FIELD if said.get(name))
    return IrRecipe(_checked(said, weight_format), origin, methods)


def rt_value(information: ElementTree.Element | None, path: str) -> str | None:
    """Return the value that stands under a path of rt_info."""
    found = None if information is None else information.find(path)
    return None if found is None else found.get("value")


def _of_rt_info(information: ElementTree.Element | None) -> dict[str, object]:
    def value(name: str) -> str | None:
        return rt_value(information, f"{_COMPRESSION}/{name}")

    mode = (value("mode") or "").lower()
    if not mode:
        return {}
    return {
        # Modes such as nf4 are neither.
        "sym": True if mode.endswith("_sym") else False if mode.endswith("_asym") else None,
        "group_size": _read(int, value("group_size")),
        "ratio": _read(float, value("ratio")),
        # Older versions write `BackupMode.INT8_ASYM`.
        "backup_precision": (value("backup_mode") or "").lower().rpartition(".")[2] or None,
        "ignored_layers": _names(value("ignored_scope/names")),
        **{name: _is_set((value(name) or "").lower() == "true") for name in (*_METHODS, *_WITHOUT_FIELD)},
    }


def _of_config(config: Mapping[str, object]) -> dict[str, object]:
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        return {}
    return {
        **{name: said.get(name) for name in ("sym", "group_size", "ratio", "backup_precision", "dataset")},
        "samples": said.get("num_samples"),
        **{
            name: _is_set(said.get(name) is True or said.get("quant_method") == name)
            for name in (*_METHODS, *_WITHOUT_FIELD)
        },
    }


def _checked(said: Mapping[str, object], weight_format: WeightFormat) -> Recipe:
    """Return the recipe of all that is said and that a recipe of this weight format may say."""
    recipe = Recipe()
    for name in _FIELDS[weight_format]:
        try:
            recipe = Recipe.model_validate({**recipe.model_dump(exclude_none=True), name: said.get(name)})
        except ValidationError:
            continue
    return recipe


def _is_set(value: bool) -> bool | None:
    return True if value else None


def _read(kind: type[int] | type[float], text: str | None) -> float | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return the names of a list as Python writes it."""
    try:
        names = ast.literal_eval(text or "[]")
    except (ValueError, SyntaxError):
        return None
    return tuple(map(str, names)) or None if isinstance(names, list) else None
