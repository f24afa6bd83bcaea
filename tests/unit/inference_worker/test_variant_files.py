from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_worker.variant_files import read_json, read_model_limits


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("config", "context_length"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"n_positions": 1024}, 1024),
        ({"max_seq_len": 4096}, 4096),
        ({}, 2048),
    ],
)
def test_the_context_length_has_many_names(tmp_path: Path, config: dict[str, int], context_length: int) -> None:
    write(tmp_path, "config.json", config)
    assert read_model_limits(tmp_path).context_length == context_length


@pytest.mark.parametrize(
    ("rope", "tokens"),
    [
        ({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [4]}}, 4096),
        ({"rope_scaling": {"type": "su", "short_factor": [1], "long_factor": [4]}}, 4096),
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 64}}, None),
        (
            {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 64, "long_factor": [2]}},
            64,
        ),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}, None),
        ({"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8192}}, None),
        ({"rope_scaling": None}, None),
        ({}, None),
    ],
)
def test_a_text_with_other_positions_from_some_length_on_is_paged_up_to_it(
    tmp_path: Path, rope: dict[str, object], tokens: int | None
) -> None:
    write(tmp_path, "config.json", {"max_position_embeddings": 9000, "original_max_position_embeddings": 4096, **rope})
    limits = read_model_limits(tmp_path)
    assert (limits.short_rope_tokens, limits.context_length) == (tokens, 9000)
    assert limits.paged_context_length == (tokens or 9000)


def test_a_nested_text_config_counts(tmp_path: Path) -> None:
    write(
        tmp_path, "config.json", {"text_config": {"max_position_embeddings": 512, "vocab_size": 9, "eos_token_id": 1}}
    )
    limits = read_model_limits(tmp_path)
    assert (limits.context_length, limits.vocab_size, limits.eos_token_ids) == (512, 9, (1,))


def test_the_generation_config_names_the_end_tokens_of_a_chat_model(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"eos_token_id": 1})
    write(tmp_path, "generation_config.json", {"eos_token_id": [1, 7, 7]})
    assert read_model_limits(tmp_path).eos_token_ids == (1, 7)


def test_a_file_that_is_no_json_object_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "config.json", [1])
    with pytest.raises(ValueError, match="not a JSON object"):
        read_json(tmp_path / "config.json")
