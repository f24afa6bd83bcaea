"""The error tree and its table of statuses."""

import pytest

from gateway.exception_handlers import STATUS_BY_CODE, error_response
from shared.errors import ErrorBody, InternalError, error_from_body, error_types


def test_codes_are_unique_and_each_has_a_status() -> None:
    assert set(STATUS_BY_CODE) == set(error_types())


@pytest.mark.parametrize("code", sorted(error_types()))
def test_an_error_survives_the_wire(code: str) -> None:
    error = error_types()[code]("what happened", param="field")
    again = error_from_body(ErrorBody.model_validate_json(error.body().model_dump_json()))
    assert type(again) is type(error)
    assert (again.message, again.param) == ("what happened", "field")


def test_an_unknown_code_is_an_internal_error() -> None:
    assert isinstance(error_from_body(ErrorBody(message="x", type="y", code="from_the_future")), InternalError)


@pytest.mark.parametrize("code", [code for code, status in STATUS_BY_CODE.items() if status == 503])
def test_passing_failures_say_when_to_come_back(code: str) -> None:
    assert int(error_response(error_types()[code]("later")).headers["retry-after"]) >= 1
