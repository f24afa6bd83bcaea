import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from converter_worker.checkpoint_facts import read_facts, read_safetensors_header
from shared.errors import SourceCorrupt, SourceNotFound


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "tokenizer.json").write_text("{}")
    save_file({"a": np.zeros((4, 8), np.float16), "b": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def test_shapes_come_from_the_header(checkpoint: Path) -> None:
    facts = read_facts(checkpoint)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in facts.tensors.items()} == {
        "a": ("F16", (4, 8)),
        "b": ("F32", (3,)),
    }
    assert (facts.parameters, facts.model_type, facts.has_tokenizer) == (35, "llama", True)


@pytest.mark.parametrize("size", [0, 4, 20, 150])
def test_a_shortened_file_is_named(checkpoint: Path, size: int) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(SourceCorrupt, match=r"model\.safetensors"):
        read_safetensors_header(file)


def test_a_missing_shard_is_named(checkpoint: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "c": "model-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceCorrupt, match="model-00002"):
        read_facts(checkpoint)


def test_a_weight_that_no_file_has_is_named(checkpoint: Path) -> None:
    weight_map = {"a": "model.safetensors", "b": "model.safetensors"}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    file = checkpoint / "model.safetensors.index.json"
    file.write_text(json.dumps(index))
    # The total size is wrong in published checkpoints too.
    assert read_facts(checkpoint).parameters == 35
    weight_map["c"] = "model.safetensors"
    file.write_text(json.dumps(index))
    with pytest.raises(SourceCorrupt, match="1 weights that no file has, such as c"):
        read_facts(checkpoint)


def test_sizes_that_do_not_fit_the_shape_are_told(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[4,8]', b'"shape":[4,9]'))
    with pytest.raises(SourceCorrupt, match="a has 64 bytes"):
        read_facts(checkpoint)


def test_a_broken_configuration_is_corrupt(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(SourceCorrupt, match=r"config\.json"):
        read_facts(checkpoint)


def test_a_folder_without_weights_is_no_source(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(SourceNotFound, match="no weights"):
        read_facts(checkpoint)
