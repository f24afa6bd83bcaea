"""The recipes that the catalogue chooses, and the variants that a request may ask for."""

import pytest

from shared.catalog import DEFAULT_INT4_RECIPE, complete_recipe, load_catalog
from shared.schemas.conversion import ConversionRequest, named_variants
from shared.schemas.models import Recipe, VariantRequest


@pytest.mark.parametrize(
    ("variant", "source", "expected"),
    [
        ({"name": "fp16", "weight_format": "fp16"}, "mistral-7b", Recipe()),
        ({"name": "int8", "weight_format": "int8"}, "mistral-7b", Recipe(sym=False)),
        ({"name": "int4", "weight_format": "int4"}, "mistral-7b", Recipe(sym=True, group_size=64, ratio=0.6)),
        ({"name": "int4", "weight_format": "int4"}, "unknown/one", DEFAULT_INT4_RECIPE),
        (
            {"name": "x", "weight_format": "int4", "recipe": {"group_size": -1}},
            "unknown/one",
            Recipe(sym=False, group_size=-1, ratio=0.8),
        ),
    ],
)
def test_recipes_are_completed(variant: dict[str, object], source: str, expected: Recipe) -> None:
    asked = VariantRequest.model_validate(variant)
    assert complete_recipe(asked, load_catalog().find(source)).recipe == expected


def test_a_request_switches_off_what_the_catalogue_chose() -> None:
    """An entry of the operators with AWQ: `awq: false` was taken as nothing said, and the variant came with AWQ."""
    entry = load_catalog().find("mistral-7b")
    assert entry is not None
    entry = entry.model_copy(update={"int4": Recipe(awq=True, sym=False, ratio=1.0)})
    variant: dict[str, object] = {"name": "int4", "weight_format": "int4"}
    plain, without = (
        complete_recipe(VariantRequest.model_validate({**variant, "recipe": recipe}), entry).recipe
        for recipe in ({}, {"awq": False, "sym": True})
    )
    assert plain == Recipe(awq=True, sym=False, ratio=1.0)
    assert without == Recipe(sym=True, ratio=1.0)


@pytest.mark.parametrize(
    "variants",
    [
        ["int5"],
        [],
        ["int4", "int4"],
        [{"name": "x", "weight_format": "int4", "recipe": {"grp_size": 64}}],
        [{"name": "x", "weight_format": "int4", "recipe": {"group_size": 0}}],
        [{"name": "x", "weight_format": "int8", "recipe": {"ratio": 0.5}}],
        [{"name": "Bad Name", "weight_format": "int4"}],
    ],
)
def test_bad_variants_are_refused(variants: list[object]) -> None:
    with pytest.raises(ValueError, match="variants"):
        ConversionRequest.model_validate({"source_model": "a/b", "variants": variants})


def test_a_bare_format_is_a_variant_of_its_name() -> None:
    request = ConversionRequest.model_validate({"source_model": "a/b", "variants": ["int8"]})
    assert named_variants(request.variants) == (VariantRequest(name="int8", weight_format="int8"),)
