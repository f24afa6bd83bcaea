"""What a validation error says to people: the complaint about the form that was meant, named by its field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import ErrorDetails

from shared.ids import NAME_PATTERN

#: What NAME_PATTERN allows.
_NAME_FORM = "only lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit, 96 at most"
#: Longest part of a refused name that is shown.
_SHOWN_CHARACTERS = 40


class Complaint(NamedTuple):
    """`field` as in ``variants.0.recipe.ratio``, empty where the whole is refused; `text` names it."""

    field: str
    text: str


def complaint_of(errors: Sequence[ErrorDetails]) -> Complaint:
    """Return the most specific of a validation's errors.

    Where a field may have one of several forms, each form complains; the deepest complaint is about the form meant.
    """
    error = max(errors, key=lambda one: len(one["loc"]))
    if error["type"] == "json_invalid":
        return Complaint("", f"This is not valid JSON: {error.get('ctx', {}).get('error', error['msg'])}.")
    field = ".".join(str(part) for part in error["loc"] if not _is_form_name(part))
    if error.get("ctx", {}).get("pattern") == NAME_PATTERN:
        return Complaint(field, f"{_named(field)} {_shown(error['input'])}: {_NAME_FORM}")
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(" after validation, not 0")
    message = message.replace("Tuple should", "should")
    return Complaint(field, f"{field}: {message}" if field else message)


def _is_form_name(part: int | str) -> bool:
    """Tell a field's name from where it was looked for, a union's member, or a frame's type."""
    if isinstance(part, int):
        return False
    return part in ("body", "query", "path") or part[:1].isupper() or "[" in part or "." in part


def _named(field: str) -> str:
    """What people call a field that holds a name."""
    return "variant name" if field == "variant" or field.startswith("variants.") else field or "name"


def _shown(name: object) -> str:
    text = str(name)
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
