"""Rules between the fields of a request, as its JSON schema says them; the code that reads it enforces them."""

from __future__ import annotations

from pydantic import JsonValue

Schema = dict[str, JsonValue]

#: A value that is not null; null stands for a field that is left out.
GIVEN: Schema = {"not": {"type": "null"}}
TRUE: Schema = {"const": True}
FILLED: Schema = {"type": "array", "minItems": 1}


def has(**fields: Schema) -> Schema:
    """Return what holds where each field is there and is as its schema says."""
    return {"required": list(fields), "properties": dict(fields)}


def no(condition: Schema) -> Schema:
    """Return what holds where a condition does not."""
    return {"not": condition}


def when(condition: Schema, consequence: Schema) -> Schema:
    """Return a rule: where the condition holds, so does the consequence."""
    return {"if": condition, "then": consequence}


def rules(*of: Schema) -> Schema:
    """Return what pydantic adds to a model's schema, so that every rule holds."""
    return {"allOf": list(of)}
