"""What no schema can say, made true in the requests that the contract's test sends as good ones.

``schemathesis.toml`` names this file; the test itself does not import it.
"""

from collections.abc import Callable
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

Body = dict[str, Any]


def narrowed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: narrowed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [narrowed(one) for one in value]
    return value % 2**63 if isinstance(value, int) and abs(value) >= 2**63 else value


def mend_chat(body: Body) -> None:
    """One number under two names; a tool that is chosen by its name; numbers of 64 bits in JSON of any form."""
    for name, value in body.items():
        body[name] = narrowed(value)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        body["max_tokens"] = body["max_completion_tokens"]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"]["function"]["name"] = body["tools"][0]["function"]["name"]


def mend_conversion(body: Body) -> None:
    """Variants with names that differ, whether they are written out or not."""
    by_name = {one if isinstance(one, str) else one["name"]: one for one in body["variants"]}
    body["variants"] = list(by_name.values())


MENDED: dict[str, Callable[[Body], None]] = {
    "POST /v1/chat/completions": mend_chat,
    "POST /api/v1/conversions": mend_conversion,
}


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    mend = MENDED.get(case.operation.label)
    is_good = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if mend is not None and is_good and isinstance(case.body, dict):
        mend(case.body)
