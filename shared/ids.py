"""Identifiers: a readable prefix and 96 random bits."""

from __future__ import annotations

import re
import secrets

#: Public names of models and variants.
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,95}$"
_NAME = re.compile(NAME_PATTERN)


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``gen_0f3a…``.

    Prefixes: gen, msg, chat, conv, run, key, req, call, quality, trash, gw, w.
    """
    return f"{prefix}_{secrets.token_hex(12)}"


def is_name(text: str) -> bool:
    """Tell whether a text may name a model or a variant."""
    return _NAME.fullmatch(text) is not None


def user_message_id(generation_id: str) -> str:
    """Return the id of the user's message that a generation answers.

    It follows from the generation's id, so that storing the turn twice stores it once.
    """
    return "msg_" + generation_id.removeprefix("gen_")
