"""What the files of a published variant say about the model, read without any model library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length")
_DEFAULT_CONTEXT_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """`context_length` in tokens, prompt and answer together; the ids that end an answer."""

    context_length: int
    eos_token_ids: tuple[int, ...]
    vocab_size: int


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one when the file is missing. Raises ValueError when it is malformed."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    value = orjson.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")
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
    )


def _eos_token_ids(*sources: dict[str, Any]) -> tuple[int, ...]:
    """The first source that names end tokens wins: chat models list more in generation_config."""
    for source in sources:
        value = source.get("eos_token_id")
        if isinstance(value, int):
            return (value,)
        if isinstance(value, list) and value:
            return tuple(dict.fromkeys(int(item) for item in value))
    return ()
