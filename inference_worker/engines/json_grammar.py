"""A grammar of the JSON that a schema allows, with one blank where JSON allows any number.

The runtime's own grammar lets a model write blanks and digits without end, and small models do until they are cut off.
"""

from __future__ import annotations

import json
from typing import Any

from inference_worker.answer_schema import resolve
from shared.errors import InvalidRequest

#: Left to the runtime's own grammar.
_OTHERS = frozenset({"pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "prefixItems", "format"})
#: A heavier schema is left to the runtime, too, whose own rules compile faster.
_HEAVIEST = 320
_PROPERTY_WEIGHT = 8
#: Characters are counted in parts of this many: the compiler takes milliseconds for every state of its own, and one
#: part serves all texts.
_PART = 16
_LENGTH_WEIGHT = 256
_LENGTHS = frozenset({"minLength", "maxLength"})
#: What takes the compiler half a second on two cores; all other answers of the engine wait for it.
_MOST_LENGTH = 80
_MOST_ENUM_CHARACTERS = 32_000
_MOST_OPTIONAL = 250
_COMMON = r"""
any ::= string | number | "true" | "false" | "null" | any_object | any_array
any_object ::= "{" (string ": " any (", " string ": " any)*)? "}"
any_array ::= "[" (any (", " any)*)? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f] | "\\" ["\\/bfnrt] | "\\u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]
integer ::= "-"? ("0" | [1-9] [0-9]{0,14})
number ::= integer ("." [0-9]{1,15})? ([eE] [+-]? [0-9]{1,2})?
"""
_COUNTED = "\n".join(
    ['upto0 ::= ""', "exact1 ::= char"]
    + [f"upto{count} ::= (char upto{count - 1})?" for count in range(1, _PART)]
    + [f"exact{count} ::= char exact{count - 1}" for count in range(2, _PART)]
    + [f"part ::= char exact{_PART - 1}\n"]
)
_SIMPLE = {"integer": "integer", "number": "number", "boolean": '("true" | "false")', "null": '"null"'}


def compact_grammar(schema: dict[str, Any]) -> str | None:
    """The grammar of a checked schema; None for a schema that is left to the runtime."""
    if _uses(schema, _OTHERS) or _weight(schema) > _HEAVIEST:
        return None
    rules = _Rules(schema)
    root = rules.value(schema)
    counted = _COUNTED if _uses(schema, _LENGTHS) else ""
    return "\n".join([f"root ::= {root}", *rules.lines]) + _COMMON + counted


def check_compile_time(schema: dict[str, Any]) -> None:
    """Raises InvalidRequest for a checked schema that would hold up everybody's answers for too long."""
    sizes = _Sizes()
    sizes.add(schema)
    unfit = None
    if sizes.length > _MOST_LENGTH and compact_grammar(schema) is None:
        unfit = f"bounds texts to more than {_MOST_LENGTH} characters in all, in a schema that is large or has patterns"
    elif sizes.enum_characters > _MOST_ENUM_CHARACTERS:
        unfit = f"has enums of more than {_MOST_ENUM_CHARACTERS} characters"
    elif sizes.optional_pairs > _MOST_OPTIONAL**2:
        unfit = f"has more than {_MOST_OPTIONAL} properties that are not required"
    if unfit is not None:
        raise InvalidRequest(f"The JSON schema {unfit}, which takes too long to compile.", param="response_format")


class _Sizes:
    """What the compiler takes long for: squares of optional properties, because each may follow each."""

    def __init__(self) -> None:
        self.length = 0
        self.enum_characters = 0
        self.optional_pairs = 0

    def add(self, value: Any) -> None:
        """Count a schema and its parts."""
        if isinstance(value, list):
            for part in value:
                self.add(part)
        if not isinstance(value, dict):
            return
        self.length += max((value[key] for key in _LENGTHS if isinstance(value.get(key), int)), default=0)
        if isinstance(value.get("enum"), list):
            self.enum_characters += len(json.dumps(value["enum"]))
        if isinstance(value.get("properties"), dict):
            self.optional_pairs += len(value["properties"].keys() - set(value.get("required", ()))) ** 2
        for part in value.values():
            self.add(part)


def _uses(schema: Any, keywords: frozenset[str]) -> bool:
    if not isinstance(schema, dict):
        return False
    parts = [schema.get("items"), schema.get("additionalProperties")]
    parts += [part for name in ("properties", "$defs", "definitions") for part in schema.get(name, {}).values()]
    parts += [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, ())]
    return bool(keywords & schema.keys()) or any(_uses(part, keywords) for part in parts)


def _weight(value: Any) -> int:
    """What the compiler takes long for: counts, and properties, of which each may be there or not."""
    if isinstance(value, list):
        return sum(map(_weight, value))
    if not isinstance(value, dict):
        return 0
    counts = sum(value[key] for key in ("maxItems",) if isinstance(value.get(key), int))
    counts += sum(value[key] // _LENGTH_WEIGHT for key in _LENGTHS if isinstance(value.get(key), int))
    properties = value.get("properties")
    many = _PROPERTY_WEIGHT * len(properties) if isinstance(properties, dict) else 0
    return int(counts + many + sum(map(_weight, value.values())))


class _Rules:
    """One rule for each object, array and reference; the rest stands in line."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._names: dict[int, str] = {}
        self.lines: list[str] = []

    def value(self, schema: Any) -> str:
        """The expression of a schema."""
        if not isinstance(schema, dict):
            return "any"
        schema = resolve(self._root, schema)
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return "(" + " | ".join(_literal(value) for value in schema["enum"]) + ")"
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                return "(" + " | ".join(self.value(part) for part in schema[keyword]) + ")"
        kind = schema.get("type")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else None
        if isinstance(kind, list):
            return "(" + " | ".join(self._of_type(schema, name) for name in kind) + ")"
        return "any" if kind is None else self._of_type(schema, kind)

    def _of_type(self, schema: dict[str, Any], kind: str) -> str:
        if kind in _SIMPLE:
            return _SIMPLE[kind]
        if kind == "string":
            return f'"\\"" {_characters(schema.get("minLength", 0), schema.get("maxLength"))} "\\""'
        known = self._names.get(id(schema))
        if known is not None:
            return known
        name = self._names[id(schema)] = f"rule{len(self._names)}"
        self.lines.append(f"{name} ::= {self._object(schema, name) if kind == 'object' else self._array(schema)}")
        return name

    def _array(self, schema: dict[str, Any]) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0 or schema.get("items") is False:
            return '"[]"'
        item = self.value(schema.get("items"))
        more = f'(", " {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        items = f"{item} {more}"
        return f'"[" {items if least else f"({items})?"} "]"'

    def _object(self, schema: dict[str, Any], name: str) -> str:
        properties, required = schema.get("properties", {}), set(schema.get("required", ()))
        others = schema.get("additionalProperties", not properties)
        # One rule for each place and whether a comma is due there.
        for at, (key, part) in enumerate(properties.items()):
            pair = f"{_literal(key)} {_text(': ')} {self.value(part)} {name}_{at + 1}_comma"
            for place, comma in ((f"{name}_{at}", ""), (f"{name}_{at}_comma", '", " ')):
                skipped = f"{name}_{at + 1}{'_comma' if comma else ''}"
                self.lines.append(f"{place} ::= {comma}{pair}" + ("" if key in required else f" | {skipped}"))
        end = f"{name}_{len(properties)}"
        pair = f'string ": " {self.value(others)}'
        self.lines.append(f"{end} ::= " + ('""' if others is False else f'({pair} (", " {pair})*)?'))
        self.lines.append(f"{end}_comma ::= " + ('""' if others is False else f'(", " {pair})*'))
        return f'"{{" {name}_0 "}}"'


def _characters(least: int, most: int | None) -> str:
    """So many characters of a text, from rules that all texts share."""
    parts, rest = divmod(least, _PART)
    first = (f"part{{{parts}}} " if parts else "") + (f"exact{rest} " if rest else "")
    if most is None:
        return f"{first}char*"
    parts, rest = divmod(most - least, _PART)
    if not parts:
        return f"{first}upto{rest}"
    return f"{first}(part{{0,{parts - 1}}} upto{_PART - 1} | part{{{parts}}} upto{rest})"


def _times(schema: dict[str, Any], what: str) -> str:
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    return "*" if not least and most is None else f"{{{least},{'' if most is None else most}}}"


def _literal(value: Any) -> str:
    """The grammar's text that matches a value's JSON."""
    return _text(json.dumps(value, ensure_ascii=False))


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
