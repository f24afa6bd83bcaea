"""The catalogue: what is known of a model before it is converted. Data in TOML files, typed here."""

from __future__ import annotations

from collections.abc import Mapping

from shared.catalog.catalog import Catalog
from shared.catalog.catalog_files import load_catalog
from shared.catalog.chat_form import ChatForm, StreamRules
from shared.catalog.entry import DEFAULT_INT4_RECIPE, CatalogEntry, Language
from shared.schemas.models import Recipe, VariantRequest

__all__ = [
    "DEFAULT_INT4_RECIPE",
    "DEFAULT_VARIANT_ORDER",
    "DEMO_MODEL",
    "Catalog",
    "CatalogEntry",
    "ChatForm",
    "Language",
    "StreamRules",
    "complete_recipe",
    "load_catalog",
]

#: The order in which a published variant becomes the default of its model.
DEFAULT_VARIANT_ORDER = ("int8", "int4", "fp16")
#: Calibration texts of a recipe that needs some and names none.
DEFAULT_CALIBRATION = "wikitext2"
#: The model that needs no hub.
DEMO_MODEL = "smollm2-135m-instruct"


def complete_recipe(variant: VariantRequest, entry: CatalogEntry | None) -> VariantRequest:
    """Return the variant with every choice made: the request's, else the catalogue's, else the default."""
    asked = variant.recipe.model_dump(exclude_none=True)
    if variant.weight_format == "fp16":
        recipe = Recipe()
    elif variant.weight_format == "int8":
        recipe = _merged({"sym": False}, asked)
    else:
        recipe = _merged((entry.int4 if entry is not None else DEFAULT_INT4_RECIPE).model_dump(), asked)
        if recipe.needs_texts and recipe.dataset is None:
            recipe = recipe.model_copy(update={"dataset": DEFAULT_CALIBRATION})
    return variant.model_copy(update={"recipe": recipe})


def _merged(base: Mapping[str, object], asked: Mapping[str, object]) -> Recipe:
    # What is switched off, also against the catalogue, is what nobody asks for: the two make the same variant.
    wishes = {name: value for name, value in {**base, **asked}.items() if value is not False or name == "sym"}
    return Recipe.model_validate(wishes)
