from __future__ import annotations

from typing import Any

import pytest

from inference_worker.engines.json_grammar import check_compile_time, compact_grammar
from shared.errors import InvalidRequest


def test_optional_properties_may_be_left_out_and_commas_stay_right() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["b"]}
    grammar = compact_grammar(schema)
    assert grammar is not None
    assert [line for line in grammar.splitlines() if line.startswith(("root", "rule"))] == [
        "root ::= rule0",
        r'rule0_0 ::= "\"a\"" ": " integer rule0_1_comma | rule0_1',
        r'rule0_0_comma ::= ", " "\"a\"" ": " integer rule0_1_comma | rule0_1_comma',
        r'rule0_1 ::= "\"b\"" ": " "null" rule0_2_comma',
        r'rule0_1_comma ::= ", " "\"b\"" ": " "null" rule0_2_comma',
        'rule0_2 ::= ""',
        'rule0_2_comma ::= ""',
        'rule0 ::= "{" rule0_0 "}"',
    ]


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    grammar = compact_grammar(schema)
    assert grammar is not None
    assert r'rule0_0 ::= "\"next\"" ": " rule0 rule0_1_comma | rule0_1' in grammar


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3},
        {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}},
        {"type": "array", "items": {"anyOf": [{"pattern": "a"}]}},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 1000},
        {"type": "object", "properties": {f"p{number}": True for number in range(200)}},
    ],
)
def test_the_rest_is_left_to_the_runtime(schema: dict[str, Any]) -> None:
    assert compact_grammar(schema) is None


def test_texts_are_counted_in_parts_that_all_texts_share() -> None:
    grammar = compact_grammar({"type": "array", "items": {"type": "string", "minLength": 18, "maxLength": 55}})
    assert grammar is not None
    assert r'"\"" part{1} exact2 (part{0,1} upto15 | part{2} upto5) "\""' in grammar
    assert grammar.count("upto15 ::=") == 1


def _texts(count: int, length: int) -> dict[str, Any]:
    names = [f"p{number}" for number in range(count)]
    return {"type": "object", "properties": {name: {"type": "string", "maxLength": length} for name in names}}


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        (_texts(60, 100), "80 characters"),
        ({"type": "object", "properties": {f"p{number}": True for number in range(251)}}, "250 properties"),
        ({"enum": ["x" * 400] * 90}, "32000 characters"),
    ],
)
def test_what_compiles_for_too_long_is_refused_by_a_limit_that_is_told(schema: dict[str, Any], limit: str) -> None:
    """Accident: while one schema compiles, the answers of everybody else stand still."""
    with pytest.raises(InvalidRequest, match=limit):
        check_compile_time(schema)


@pytest.mark.parametrize("schema", [_texts(20, 1000), {"type": "array", "items": {"type": "string"}, "maxItems": 1000}])
def test_what_compiles_quickly_is_taken(schema: dict[str, Any]) -> None:
    check_compile_time(schema)
