"""What a recipe may ask for, what is refused before anything is done, and how texts travel."""

from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from gateway.client.recipe_options import calibration_dataset, variant_wishes
from gateway.conversions.planning import plan_conversion
from shared.calibration import calibration_texts, texts_name
from shared.catalog import Catalog
from shared.schemas.conversion import ConversionPlan, ConversionRequest
from shared.schemas.models import Recipe, VariantRequest

TEXTS = ["A text about one thing.", "Another text about another thing."]
DIGEST = "texts:" + "0" * 64


def a_request(weight_format: str, recipe: dict[str, object]) -> ConversionRequest:
    variant = {"name": "v", "weight_format": weight_format, "recipe": recipe}
    return ConversionRequest.model_validate({"source_model": "org/model", "variants": [variant]})


def planned(recipe: dict[str, object], weight_format: str = "int4") -> Recipe:
    plan: ConversionPlan = plan_conversion(a_request(weight_format, recipe), Catalog([]))
    return plan.variants[0].recipe


@pytest.mark.parametrize(
    ("weight_format", "recipe"),
    [
        ("int4", {"awq": True}),
        ("int4", {"awq": True, "dataset": "wikitext2", "samples": 128}),
        ("int4", {"awq": True, "dataset": TEXTS}),
        ("int4", {"dataset": DIGEST, "scale_estimation": True, "gptq": True}),
        ("int4", {"dataset": TEXTS, "ratio": 0.6}),
        ("int4", {"group_size": -1, "ratio": 0.8, "backup_precision": "int8_sym"}),
        ("int4", {"group_size": 64, "backup_precision": "none", "ignored_layers": ["*.down_proj"]}),
        ("int8", {"sym": True}),
        ("int8", {"sym": False, "ignored_layers": ["lm_head"]}),
    ],
)
def test_recipes_that_are_accepted(weight_format: str, recipe: dict[str, object]) -> None:
    (variant,) = a_request(weight_format, recipe).variants
    assert isinstance(variant, VariantRequest)
    given = variant.recipe.model_dump(mode="json", exclude_none=True)
    assert given == recipe


@pytest.mark.parametrize(
    ("weight_format", "recipe", "complaint"),
    [
        ("int8", {"awq": True}, "int8 takes no awq"),
        ("int8", {"group_size": 64}, "int8 takes no group_size"),
        ("int8", {"backup_precision": "none"}, "int8 takes no backup_precision"),
        ("int8", {"dataset": TEXTS}, "int8 takes no dataset"),
        ("fp16", {"ignored_layers": ["a"]}, "fp16 takes no ignored_layers"),
        ("int4", {"samples": 4}, "there is no dataset"),
        ("int4", {"samples": 0, "dataset": TEXTS}, "greater than or equal to 1"),
        ("int4", {"dataset": []}, "at least 1 item"),
        ("int4", {"dataset": [""]}, "at least 1 character"),
        ("int4", {"dataset": "c4"}, "wikitext2"),
        ("int4", {"dataset": "texts:short"}, "pattern"),
        ("int4", {"backup_precision": "int4"}, "int8_asym"),
        ("int4", {"ignored_layers": []}, "at least 1 item"),
        ("int4", {"group_size": 0}, "group_size is -1"),
        ("int4", {"ratio": 1.5}, "less than or equal to 1"),
        ("int4", {"awq": "yes"}, "valid boolean"),
        ("int4", {"lora": True}, "not permitted"),
    ],
)
def test_recipes_that_are_refused(weight_format: str, recipe: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        a_request(weight_format, recipe)


def test_a_recipe_that_needs_texts_takes_the_named_ones() -> None:
    assert planned({"gptq": True}).dataset == "wikitext2"
    assert planned({"scale_estimation": True}).dataset == "wikitext2"
    assert planned({"awq": True}).dataset is None


def test_what_is_switched_off_is_the_same_as_not_asked_for() -> None:
    """Else a published variant would be refused as one of another recipe."""
    assert planned({"awq": False, "gptq": False}) == planned({})
    assert planned({"sym": False}).sym is False


def test_a_plan_names_texts_by_their_digest_and_the_same_texts_alike() -> None:
    """A job's record is in every list of jobs, and a variant's in every list of models."""
    recipe = {"awq": True, "dataset": TEXTS}
    name = texts_name(TEXTS)
    assert planned(recipe).dataset == name
    assert planned({"awq": True, "dataset": name}) == planned(recipe)
    assert planned({"awq": True, "dataset": TEXTS[:1]}) != planned(recipe)
    assert calibration_texts(a_request("int4", recipe)) == {name: tuple(TEXTS)}
    assert calibration_texts(a_request("int4", {"awq": True})) == {}


def test_options_go_to_the_variants_that_they_fit() -> None:
    wishes = variant_wishes("fp16,int8,int4,small=int4", {"awq": True, "sym": True, "gptq": None})
    assert wishes == [
        "fp16",
        {"name": "int8", "weight_format": "int8", "recipe": {"sym": True}},
        {"name": "int4-awq", "weight_format": "int4", "recipe": {"awq": True, "sym": True}},
        {"name": "small", "weight_format": "int4", "recipe": {"awq": True, "sym": True}},
    ]


@pytest.mark.parametrize(
    ("variants", "options"),
    [("int8", {"awq": True}), ("fp16", {"ignored_layers": ["a"]}), ("int4", {"samples": 3}), ("int5", {}), (",", {})],
)
def test_options_without_use_are_refused(variants: str, options: dict[str, object]) -> None:
    with pytest.raises(typer.Exit) as ending:
        variant_wishes(variants, options)
    assert ending.value.exit_code == 2


def test_calibration_texts_come_from_paragraphs_or_json(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("One text\nof two lines.\n\n\nAnother.\n")
    (tmp_path / "texts.json").write_text('["One.", " ", "Two."]')
    (tmp_path / "wrong.json").write_text('{"a": 1}')
    assert calibration_dataset(None) is None
    assert calibration_dataset("wikitext2") == "wikitext2"
    assert calibration_dataset(str(tmp_path / "texts.txt")) == ["One text\nof two lines.", "Another."]
    assert calibration_dataset(str(tmp_path / "texts.json")) == ["One.", "Two."]
    for wrong in ("wrong.json", "missing.txt"):
        with pytest.raises(typer.Exit):
            calibration_dataset(str(tmp_path / wrong))
