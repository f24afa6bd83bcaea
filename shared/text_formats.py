"""How model families write tool calls and reasoning: format names by `model_type` and model name.

The gateway looks the names up here and puts them into ``EngineOptions``; the inference worker parses the formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

ToolFormat: TypeAlias = Literal["hermes", "llama3_json", "mistral"]
ReasoningFormat: TypeAlias = Literal["think_tags"]


@dataclass(frozen=True, slots=True)
class TextFormats:
    """Formats of one model; None where it has none, or none that is known."""

    tool_format: ToolFormat | None = None
    reasoning_format: ReasoningFormat | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """`model_type` is the whole of it or, empty, any; `name` is looked for in the model's names, in lower case."""

    model_type: str
    name: str
    formats: TextFormats


#: The first row that fits counts. A row by name stands before that of its `model_type`.
_ROWS = (
    _Row("", r"deepseek-r1|r1-distill", TextFormats(None, "think_tags")),
    _Row("", r"smollm3", TextFormats("hermes", "think_tags")),
    _Row("", r"qwq", TextFormats("hermes", "think_tags")),
    _Row("", r"qwen3.*-instruct-2507", TextFormats("hermes", None)),
    _Row("", r"smollm2|qwen1\.5", TextFormats()),
    _Row("", r"hermes-[23]", TextFormats("hermes", None)),
    _Row("smollm3", "", TextFormats("hermes", "think_tags")),
    _Row("qwen3", "", TextFormats("hermes", "think_tags")),
    _Row("qwen3_moe", "", TextFormats("hermes", "think_tags")),
    _Row("qwen2", "", TextFormats("hermes", None)),
    _Row("qwen2_moe", "", TextFormats("hermes", None)),
    _Row("mistral", r"instruct-v0\.3|mistral-nemo|mistral-small|ministral", TextFormats("mistral", None)),
    _Row("mixtral", r"instruct-v0\.3", TextFormats("mistral", None)),
    _Row("llama", r"llama-?3\.[1-9]", TextFormats("llama3_json", None)),
)


def text_formats(model_type: str, *names: str) -> TextFormats:
    """Return how a model writes what is split out of its answers.

    Args:
        model_type: as in its ``config.json``.
        names: public name and source model; any of them may tell more than `model_type` does.
    """
    lowered = [name.lower().replace("_", "-") for name in names]
    for row in _ROWS:
        if row.model_type in ("", model_type) and (not row.name or any(re.search(row.name, name) for name in lowered)):
            return row.formats
    return TextFormats()
