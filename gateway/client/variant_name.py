"""``MODEL:VARIANT`` as it is typed."""

from __future__ import annotations

from gateway.client.exits import USAGE, fail


def variant_parts(name: str) -> tuple[str, str]:
    """Return model and variant; ends the command where the name has no two parts."""
    model, _, variant = name.rpartition(":")
    if not model or not variant:
        fail(f"{name!r} names no variant; one looks like smollm2-135m-instruct:int4", code=USAGE)
    return model, variant
