"""Writes the tokens that end an answer where inference looks for them: into a variant's ``generation_config.json``."""

import json
from collections.abc import Iterable
from pathlib import Path

from converter_worker.publication import eos_token_ids, read_json

_FILE = "generation_config.json"


def add_end_tokens(folder: Path, token_ids: Iterable[int]) -> None:
    """Add tokens to those that a variant's configuration names; nothing is written where it names them all."""
    generation = read_json(folder / _FILE)
    known = eos_token_ids(read_json(folder / "config.json"), generation)
    ends = list(dict.fromkeys((*known, *token_ids)))
    if len(ends) > len(known):
        (folder / _FILE).write_text(json.dumps({**generation, "eos_token_id": ends}, indent=2) + "\n", "utf-8")
