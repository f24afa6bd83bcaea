"""What a refused request says to people, on the command line as in the interface."""

import pytest
from pydantic import BaseModel, ValidationError

from gateway.exception_handlers import validation_error
from shared.schemas.complaint import complaint_of
from shared.schemas.conversion import ConversionRequest, ImportRequest

NAME_FORM = "only lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit, 96 at most"


@pytest.mark.parametrize(
    ("kind", "request_", "field", "text"),
    [
        (
            ConversionRequest,
            {"variants": [{"name": "Bad", "weight_format": "int8"}]},
            "variants.0.name",
            f"variant name 'Bad': {NAME_FORM}",
        ),
        (ConversionRequest, {"variants": ["int8"], "name": "A b"}, "name", f"name 'A b': {NAME_FORM}"),
        (ImportRequest, {"variant": "x" * 200}, "variant", f"variant name '{'x' * 40}…': {NAME_FORM}"),
        (
            ConversionRequest,
            {"variants": ["int9"]},
            "variants.0",
            "variants.0: Input should be 'fp16', 'int8' or 'int4'",
        ),
        (ConversionRequest, {"variants": []}, "variants", "variants: should have at least 1 item"),
        (
            ConversionRequest,
            {"variants": [{"name": "own", "weight_format": "int4", "recipe": {"ratio": 7}}]},
            "variants.0.recipe.ratio",
            "variants.0.recipe.ratio: Input should be less than or equal to 1",
        ),
    ],
)
def test_the_complaint_is_about_the_form_that_was_meant(
    kind: type[BaseModel], request_: dict[str, object], field: str, text: str
) -> None:
    """Accident: a name that cannot be one was answered with the precisions that there are."""
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({"source_model": "org/model", **request_})
    assert complaint_of(refused.value.errors()) == (field, text)
    error = validation_error(refused.value)
    assert (error.code, error.param, error.message) == ("invalid_request", field, text)
