from __future__ import annotations

from typing import Any

import pytest

from inference_worker.engines.json_grammar import compact_grammar


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
        {"type": "string", "maxLength": 1000},
        {"type": "object", "properties": {f"p{number}": True for number in range(200)}},
    ],
)
def test_the_rest_is_left_to_the_runtime(schema: dict[str, Any]) -> None:
    assert compact_grammar(schema) is None
