"""What the files of a published variant say about the model, read without any model library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length")
_DEFAULT_CONTEXT_LENGTH = 2048
#: The second is the first one's old name.
_LONG_ROPES = ("longrope", "su")


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """`context_length` in tokens, prompt and answer together; the ids that end an answer.

    `short_rope_tokens`: a text that is longer has other positions from its first token on, as Phi 3.5 does beyond 4,096
    tokens; None where all lengths have the same. One step of a model gives the same ones to all its texts, and what is
    cached keeps those that it was computed with.
    """

    context_length: int
    eos_token_ids: tuple[int, ...]
    vocab_size: int
    short_rope_tokens: int | None = None

    @property
    def paged_context_length(self) -> int:
        """Length of the longest text that is computed rightly in parts, and beside others."""
        return min(self.context_length, self.short_rope_tokens or self.context_length)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one when the file is missing. Raises ValueError when it is malformed."""
    return json_object(path.read_bytes() if path.exists() else None, path.name)


def json_object(raw: bytes | None, name: str) -> dict[str, Any]:
    """The JSON object in a file's bytes, or an empty one without any. Raises ValueError when it is malformed."""
    if raw is None:
        return {}
    value = orjson.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return value


def read_model_limits(model_dir: Path) -> ModelLimits:
    """Limits from `config.json` and `generation_config.json`; families name them differently, hence the key list."""
    config = read_json(model_dir / "config.json")
    text_config = config.get("text_config")
    if isinstance(text_config, dict):
        config = {**config, **text_config}
    context_length = next(
        (config[key] for key in _CONTEXT_KEYS if isinstance(config.get(key), int) and config[key] > 0),
        _DEFAULT_CONTEXT_LENGTH,
    )
    return ModelLimits(
        context_length=int(context_length),
        eos_token_ids=_eos_token_ids(read_json(model_dir / "generation_config.json"), config),
        vocab_size=int(config.get("vocab_size") or 0),
        short_rope_tokens=_short_rope_tokens(config),
    )


def _short_rope_tokens(config: dict[str, Any]) -> int | None:
    """The length from which on a "longrope" takes its long factors; transformers 5 gave the fields other places."""
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(rope, dict) or (rope.get("rope_type") or rope.get("type")) not in _LONG_ROPES:
        return None
    if rope.get("short_factor") == rope.get("long_factor"):
        return None
    length = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    return length if isinstance(length, int) else None


def _eos_token_ids(*sources: dict[str, Any]) -> tuple[int, ...]:
    """The first source that names end tokens wins: chat models list more in generation_config."""
    for source in sources:
        value = source.get("eos_token_id")
        if isinstance(value, int):
            return (value,)
        if isinstance(value, list) and value:
            return tuple(dict.fromkeys(int(item) for item in value))
    return ()
