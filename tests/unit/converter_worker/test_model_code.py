"""What becomes of Python code that comes with a model."""

import json
import os
from pathlib import Path

import pytest

from converter_worker.checkpoint_facts import CheckpointFacts
from converter_worker.model_code import check_code, remove_code
from converter_worker.stage_errors import platform_error
from shared.catalog import load_catalog
from shared.catalog.stacks import load_stacks
from shared.errors import RemoteCodeNeeded


def test_a_family_whose_code_is_on_the_hub_only_is_told_before_it_is_downloaded() -> None:
    facts = CheckpointFacts({"model_type": "internlm2"}, {}, has_tokenizer=True)
    check_code(facts, trusted=True)
    with pytest.raises(RemoteCodeNeeded, match="--trust-remote-code"):
        check_code(facts, trusted=False)
    # Where the libraries have the family, what else comes with the checkpoint is not needed.
    native = {"model_type": "phi3", "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}}
    check_code(CheckpointFacts(native, {}, has_tokenizer=True), trusted=False)


def test_the_catalogue_allows_the_code_that_its_families_need() -> None:
    code = load_stacks().remote_code
    assert code <= {model_type for stack in load_stacks().stacks for model_type in stack.model_types}
    assert [entry.id for entry in load_catalog().entries if entry.family in code and not entry.trust_remote_code] == []


@pytest.mark.parametrize(
    "said",
    [
        "The repository x contains custom code which must be executed to correctly load the model.",
        "Loading this model requires you to execute the configuration file in that repo on your local machine.",
    ],
)
def test_what_transformers_says_is_told_as_what_to_do(said: str, tmp_path: Path) -> None:
    error = platform_error(ValueError(said), "export", tmp_path)
    assert isinstance(error, RemoteCodeNeeded)
    assert error.param == "trust_remote_code"


def test_code_and_what_points_to_it_leave_a_variant_and_nothing_else(tmp_path: Path) -> None:
    shared_config, variant = tmp_path / "tokenizer_config.json", tmp_path / "variant"
    variant.mkdir()
    shared_config.write_text(json.dumps({"auto_map": {"AutoTokenizer": ["t.T", None]}, "bos_token": "<始>"}))
    os.link(shared_config, variant / "tokenizer_config.json")
    (variant / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoConfig": "c.C"}}))
    (variant / "generation_config.json").write_text('{"eos_token_id": 2}')
    (variant / "modeling_x.py").write_text("raise SystemExit")
    remove_code(variant)
    assert sorted(file.name for file in variant.iterdir()) == [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
    ]
    assert json.loads((variant / "config.json").read_text()) == {"model_type": "x"}
    assert json.loads((variant / "tokenizer_config.json").read_text("utf-8")) == {"bos_token": "<始>"}
    assert (variant / "generation_config.json").read_text() == '{"eos_token_id": 2}'
    assert "auto_map" in shared_config.read_text("utf-8"), "the file that the variants share was changed"
