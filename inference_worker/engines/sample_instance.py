"""A small instance of a JSON schema: what the sample engine answers when it is asked to follow one."""

from __future__ import annotations

from typing import Any

from inference_worker.answer_schema import resolve

_DEEPEST = 64
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal_instance(schema: dict[str, Any]) -> Any:
    """The least that the schema allows: required properties only, first choices, shortest texts.

    Raises:
        ValueError: the schema requires itself without end.
    """
    return _instance(schema, schema, 0)


def _instance(root: dict[str, Any], schema: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("the schema has no end")
    if not isinstance(schema, dict):
        return None
    schema = resolve(root, schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return _instance(root, schema[keyword][0], depth + 1)
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return _object(root, schema, depth)
        case "array":
            return _array(root, schema, depth)
        case "string":
            return _FORMATS.get(schema.get("format", ""), "a" * schema.get("minLength", 0))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case None if "properties" in schema or "required" in schema:
            return _object(root, schema, depth)
        case None if "items" in schema or "prefixItems" in schema:
            return _array(root, schema, depth)
    return None


def _object(root: dict[str, Any], schema: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties")
    names = sorted(
        schema.get("required", ()), key=lambda name: list(properties).index(name) if name in properties else 0
    )
    return {name: _instance(root, properties.get(name, others), depth + 1) for name in names}


def _array(root: dict[str, Any], schema: dict[str, Any], depth: int) -> list[Any]:
    first = schema.get("prefixItems", [])
    count = max(schema.get("minItems", 0), len(first))
    parts = [*first, *(schema.get("items") for _ in range(count - len(first)))]
    return [_instance(root, part, depth + 1) for part in parts]


def _number(schema: dict[str, Any]) -> int:
    low = max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
    high = min(schema.get("maximum", low), schema.get("exclusiveMaximum", low + 1) - 1)
    return int(min(low, high))
