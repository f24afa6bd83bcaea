"""Checks the JSON schema of an answer before an engine sees it.

The runtime's grammar compiler raises in the middle of a step, which ends the engine for everybody, and it ignores some
keywords without a word. So whatever is not known to be followed is refused here.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from shared.errors import InvalidRequest

_MOST_BYTES = 1 << 16
_DEEPEST = 32
_LONGEST_PATTERN = 200
#: Parts, and characters and items that are counted, in the whole schema: more take the compiler seconds.
_MOST_PARTS = 1000
_MOST_COUNTED = 20_000
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "format", "deprecated", "readOnly", "writeOnly"}
    | {"$schema", "$id", "$comment", "$defs", "definitions"}
)
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
#: Followed for integers. For other numbers the runtime allows 1.1 where the maximum is 1, 1 where it is exclusive and
#: -3 where it is -3.5; `multipleOf` it ignores.
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_CHOICES = frozenset({"anyOf", "oneOf", "allOf"})
#: One of these says all: what stands beside it, but annotations, would not be followed.
_ALONE = _CHOICES | {"$ref"}
_HIGHEST_COUNT = 1000
_HIGHEST_NUMBER = 1 << 53
#: The compiler does not escape these in the names of properties, and fails.
_UNFIT_NAME = re.compile(r'["\\\x00-\x1f\x7f]')
#: The compiler takes no regular expression but the simplest, and puts what it matches between quotes as it stands: a
#: dot or a class that excludes may match a quote and so break the JSON.
_CLASS = r"\[(?:[A-Za-z]-[A-Za-z]|[0-9]-[0-9]|[A-Za-z0-9 _.@:/,#+%=]|\\[dw.-])+-?\]"
_ATOM = rf"(?:[A-Za-z0-9 _@:/,#%=-]|\\[dw.+*?()\[\]{{}}|^$/-]|{_CLASS})"
_ATOMS = rf"(?:{_ATOM}(?:[?*+]|\{{\d{{1,2}}(?:,\d{{0,2}})?\}})?)+"
_GROUP = re.compile(rf"\((?:\?:)?{_ATOMS}(?:\|{_ATOMS})*\)")
#: Alternatives stand in groups: at the top the closing quote would be the last one's alone.
_WHOLE_PATTERN = re.compile(rf"\^?{_ATOMS}\$?")


def check_schema(text: str) -> dict[str, Any]:
    """The schema as an object. Raises InvalidRequest for what is none, or cannot be followed."""
    if len(text) > _MOST_BYTES:
        raise _unfit(f"is longer than {_MOST_BYTES} bytes")
    try:
        schema = orjson.loads(text)
    except ValueError as error:
        raise _unfit("is no JSON") from error
    if not isinstance(schema, dict):
        raise _unfit("is no object")
    _Check(schema).schema(schema, 0)
    return schema


def resolve(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a chain of `$ref` leads to. Raises InvalidRequest where it leads nowhere."""
    seen: set[str] = set()
    while "$ref" in schema:
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#") or reference in seen or "~" in reference:
            raise _unfit(f"has a $ref that leads nowhere: {reference}")
        seen.add(reference)
        target: Any = root
        for step in filter(None, reference[1:].split("/")):
            target = target.get(step) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise _unfit(f"has a $ref that leads nowhere: {reference}")
        schema = target
    return schema


class _Check:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._parts = 0
        self._counted = 0

    def schema(self, schema: Any, depth: int) -> None:
        """Raises InvalidRequest for a schema that cannot be followed, or has a part that cannot."""
        if schema is True and depth:
            return
        if not isinstance(schema, dict):
            raise _unfit("has a part that is no schema")
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            raise _unfit("is too large")
        self._has_a_beginning(schema, ())
        alone = _ALONE & schema.keys()
        if alone and schema.keys() - _ANNOTATIONS - {min(alone)}:
            raise _unfit(f"has {min(alone)} beside other keywords, which would not be followed")
        for keyword, value in schema.items():
            self._keyword(keyword, value, depth + 1)
        _check_required(schema)
        _check_bounds(schema)
        self._counted += sum(schema.get(keyword, 0) for keyword in _COUNTS)
        if self._counted > _MOST_COUNTED:
            raise _unfit("counts too many characters and items")

    def _has_a_beginning(self, schema: Any, path: tuple[int, ...]) -> None:
        """A schema that is one of its own alternatives makes a grammar without a beginning."""
        if not isinstance(schema, dict):
            return
        if id(schema) in path or len(path) > _DEEPEST:
            raise _unfit("refers to itself without end")
        path = (*path, id(schema))
        if "$ref" in schema:
            self._has_a_beginning(resolve(self._root, schema), path)
        for keyword in _CHOICES & schema.keys():
            for part in schema[keyword] if isinstance(schema[keyword], list) else ():
                self._has_a_beginning(part, path)

    def _keyword(self, keyword: str, value: Any, depth: int) -> None:
        if keyword in ("$defs", "definitions", "properties"):
            if not isinstance(value, dict):
                raise _unfit(f"has {keyword} that is no object")
            if keyword == "properties" and any(_UNFIT_NAME.search(name) for name in value):
                raise _unfit("has a property name with a quote, a backslash or a control character")
            for part in value.values():
                self.schema(part, depth)
        elif keyword in ("items", "additionalProperties"):
            if value is not False:
                self.schema(value, depth)
        elif keyword in _CHOICES or keyword == "prefixItems":
            if not isinstance(value, list) or not value or (keyword == "allOf" and len(value) > 1):
                raise _unfit(f"has {keyword} that is no list, empty, or more than can be followed")
            for part in value:
                self.schema(part, depth)
        elif keyword == "type":
            types = value if isinstance(value, list) else [value]
            if not types or not all(isinstance(item, str) and item in _TYPES for item in types):
                raise _unfit(f"has an unknown type: {value}")
        elif keyword == "enum":
            if not isinstance(value, list) or not value:
                raise _unfit("has an enum without values")
        elif keyword == "pattern":
            _check_pattern(value)
        elif keyword not in _ANNOTATIONS | _COUNTS | _NUMBERS and keyword not in ("const", "$ref", "required"):
            raise _unfit(f"has the keyword {keyword}, which cannot be followed")


def _check_required(schema: dict[str, Any]) -> None:
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _unfit("has required that is no list of names")
    if unknown := set(required) - set(schema.get("properties", ())):
        raise _unfit(f"requires {min(unknown)}, which is none of the properties")


def _check_bounds(schema: dict[str, Any]) -> None:
    for keyword in (_COUNTS | _NUMBERS) & schema.keys():
        value = schema[keyword]
        least, most = (0, _HIGHEST_COUNT) if keyword in _COUNTS else (-_HIGHEST_NUMBER, _HIGHEST_NUMBER)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _unfit(f"has {keyword} that is no whole number from {least} to {most}")
    if _NUMBERS & schema.keys() and schema.get("type") != "integer":
        raise _unfit("has bounds of a number that is no integer, which would not be followed")
    types = schema.get("type")
    types = types if isinstance(types, list) else [types]
    for keywords, name in (({"minLength", "maxLength", "pattern"}, "string"), ({"minItems", "maxItems"}, "array")):
        if keywords & schema.keys() and name not in types:
            raise _unfit(f"bounds a {name} without saying that it is one")
    if "pattern" in schema and {"minLength", "maxLength"} & schema.keys():
        raise _unfit("has a pattern beside a length, which would not be followed")
    if "prefixItems" in schema and {"minItems", "maxItems"} & schema.keys():
        raise _unfit("has prefixItems beside a number of items, which would not be followed")
    low = max(schema.get("minimum", -_HIGHEST_NUMBER), schema.get("exclusiveMinimum", -_HIGHEST_NUMBER) + 1)
    high = min(schema.get("maximum", _HIGHEST_NUMBER), schema.get("exclusiveMaximum", _HIGHEST_NUMBER) - 1)
    lengths = ((schema.get(f"min{what}", 0), schema.get(f"max{what}", _HIGHEST_COUNT)) for what in ("Items", "Length"))
    if any(least > most for least, most in ((low, high), *lengths)):
        raise _unfit("has a lower bound above the upper one")


def _check_pattern(value: Any) -> None:
    rest = value if isinstance(value, str) and len(value) <= _LONGEST_PATTERN else ""
    try:
        re.compile(rest)
    except re.error:
        rest = ""
    while (shorter := _GROUP.sub("a", rest)) != rest:
        rest = shorter
    if not _WHOLE_PATTERN.fullmatch(rest):
        raise _unfit(f"has a pattern that cannot be followed: {str(value)[:_LONGEST_PATTERN]}")


def _unfit(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The JSON schema {reason}.", param="response_format")
