from __future__ import annotations

import contextlib
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.answer_schema import check_schema
from inference_worker.engines.sample_instance import minimal_instance
from shared.errors import InvalidRequest

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Person",
    "type": "object",
    "$defs": {"city": {"type": "string", "minLength": 2}, "tree": {"properties": {"next": {"$ref": "#/$defs/tree"}}}},
    "properties": {
        "name": {"type": "string", "default": ""},
        "age": {"type": "integer", "minimum": 1, "exclusiveMaximum": 3},
        "debt": {"type": "integer", "maximum": -5},
        "height": {"type": "number"},
        "kind": {"enum": ["friend", None]},
        "v": {"const": {"a": [1]}},
        "born": {"type": "string", "format": "date"},
        "cities": {"type": "array", "items": {"$ref": "#/$defs/city"}, "minItems": 2},
        "pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "items": False},
        "nick": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tree": {"allOf": [{"$ref": "#/$defs/tree"}]},
        "any": True,
    },
    "required": ["name", "age", "debt", "height", "kind", "v", "born", "cities", "pair", "nick", "tree", "any"],
    "additionalProperties": False,
}


def test_a_rich_schema_is_taken_and_has_an_instance() -> None:
    instance = minimal_instance(check_schema(json.dumps(PERSON)))
    jsonschema.validate(instance, PERSON)
    assert list(instance) == list(PERSON["properties"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "schema",
    [
        "not json",
        "[]",
        "true",
        '{"type":"nonsense"}',
        '{"type":5}',
        '{"enum":[]}',
        '{"not":{"type":"string"}}',
        '{"type":"integer","multipleOf":5}',
        '{"type":"number","minimum":0}',
        '{"type":"integer","minimum":5,"maximum":2}',
        '{"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2}',
        '{"type":"integer","minimum":0.5}',
        '{"type":"string","minLength":5,"maxLength":2}',
        '{"type":"string","maxLength":1000000}',
        '{"type":"string","pattern":"("}',
        '{"type":"string","pattern":"(?=a)b"}',
        '{"type":"string","pattern":"a\\\\b"}',
        '{"type":"string","pattern":"a{,3}"}',
        '{"type":"string","pattern":"a++b"}',
        '{"type":"string","pattern":"(|a)"}',
        '{"type":"string","pattern":"[^a]"}',
        '{"type":"string","pattern":"a.b"}',
        '{"type":"string","pattern":"a\\"b"}',
        '{"type":"string","pattern":""}',
        '{"type":"string","pattern":"^a|b$"}',
        '{"type":"string","pattern":"[+-z]"}',
        '{"type":"object","properties":{"a\\"b":{}}}',
        '{"type":"object","properties":{"a\\\\b":{}}}',
        '{"minLength":3}',
        '{"type":"object","required":["x"]}',
        '{"type":"object","minProperties":2}',
        '{"type":"object","properties":{"a":false}}',
        '{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}}}',
        '{"$ref":"https://example.com/schema"}',
        '{"$ref":"#"}',
        '{"anyOf":[{"$ref":"#"},{"type":"null"}]}',
        '{"type":"object","anyOf":[{"type":"object"}]}',
        '{"allOf":[{"type":"object"},{"type":"object"}]}',
        '{"items":' * 40 + "{}" + "}" * 40,
        json.dumps({"description": "x" * 70_000}),
    ],
)
def test_what_cannot_be_followed_is_refused(schema: str) -> None:
    """Accident: one user's schema ends the engine for everybody, or is not followed without a word."""
    with pytest.raises(InvalidRequest) as refused:
        check_schema(schema)
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    "pattern", ["^[a-z]{2,4}$", r"\d{4}-\d\d(-\d\d)?", "(?:ab|c(d|e)+)*f", r"^[\w.-]+@[a-z]+\.(com|org)$"]
)
def test_simple_patterns_are_taken(pattern: str) -> None:
    check_schema(json.dumps({"type": "string", "pattern": pattern}))


def _objects(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.text("abc", min_size=1, max_size=2), parts, max_size=3)
    return properties.map(lambda given: {"type": "object", "properties": given, "required": list(given)})


SCHEMAS = st.recursive(
    st.sampled_from(
        [{"type": name} for name in ("string", "integer", "number", "boolean", "null")]
        + [{"const": 1.5}, {"enum": ["é", 2]}, {"type": "string", "minLength": 3}, {"type": ["null", "string"]}]
    ),
    lambda parts: st.one_of(
        _objects(parts),
        st.builds(lambda part, count: {"type": "array", "items": part, "minItems": count}, parts, st.integers(0, 3)),
        st.lists(parts, min_size=1, max_size=3).map(lambda given: {"anyOf": given}),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_the_sample_engines_instance_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.validate(minimal_instance(check_schema(json.dumps(schema))), schema)


KEYWORDS = ("type", "items", "properties", "anyOf", "$ref", "required", "enum", "minimum", "pattern", "prefixItems")
NONSENSE = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=10,
)


@given(NONSENSE)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    """Accident: a nonsense schema is a surprise, which the client sees as an internal error."""
    with contextlib.suppress(InvalidRequest):
        check_schema(json.dumps(value))
