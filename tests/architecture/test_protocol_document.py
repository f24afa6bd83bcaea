"""The protocol's document says what the code does."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from gateway.exception_handlers import STATUS_BY_CODE
from shared.errors import error_types
from shared.schemas.generation import GenerationParams
from shared.schemas.realtime import ClientFrame, ServerFrame

TEXT = (Path(__file__).parents[2] / "shared" / "docs" / "protocol.md").read_text("utf-8")


def frames() -> list[type[BaseModel]]:
    return [frame for direction in (ClientFrame, ServerFrame) for frame in get_args(get_args(direction)[0])]


@pytest.mark.parametrize("frame", frames(), ids=lambda frame: frame.__name__)
def test_every_frame_is_documented_with_its_fields(frame: type[BaseModel]) -> None:
    (name,) = get_args(frame.model_fields["type"].annotation)
    fields = ", ".join(field for field in frame.model_fields if field != "type")
    assert f"| `{name}` | {f'`{fields}`' if fields else ''} |".replace("|  |", "| |") in TEXT


def test_no_frame_is_documented_that_is_gone() -> None:
    names = {get_args(frame.model_fields["type"].annotation)[0] for frame in frames()}
    assert set(re.findall(r"^\| `([a-z.]+)` \| (?:`|\|)", TEXT, re.MULTILINE)) == names


def test_params_are_documented() -> None:
    documented = TEXT.split("`params`: `")[1].split("`")[0].replace("\n", " ")
    assert documented.split(", ") == list(GenerationParams.model_fields)


def test_error_codes_are_documented() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", TEXT, re.MULTILINE))
    assert documented == {code: str(STATUS_BY_CODE[code]) for code in error_types()}
