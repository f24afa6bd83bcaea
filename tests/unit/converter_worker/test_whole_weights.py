"""Checkpoints whose weights are not those of their config.json; transformers would make up what they lack."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converter_worker.checkpoint_facts import read_facts
from converter_worker.gguf_checkpoint import write_checkpoint
from converter_worker.sharded_weights import write_weights
from converter_worker.stages.whole_weights import whole_weights
from shared.errors import SourceCorrupt
from tests.helpers.tiny_checkpoints import write_tiny_llama
from tests.helpers.tiny_gguf import byte_level_tokenizer, random_weights, write_tiny_gguf

Weights = dict[str, Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("whole") / "llama", dtype="float16", hidden_size=32)


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the checkpoint with other weights, in one file or in several, and other fields of its configuration."""

    def make(change: Callable[[Weights], Weights], *, shard_bytes: int | None = None, **fields: object) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(tiny, folder)
        weights = change(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").unlink()
        if shard_bytes is None:
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            write_weights(weights.items(), folder, shard_bytes=shard_bytes)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, **fields}), "utf-8")
        return folder

    return make


def load(folder: Path) -> Any:
    """Load as the exporter does."""
    from transformers import AutoModelForCausalLM

    with whole_weights():
        return AutoModelForCausalLM.from_pretrained(folder)


def without_second_layer(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if ".layers.1." not in name}


@pytest.mark.parametrize("shard_bytes", [None, 16_384])
def test_a_layer_that_is_missing_is_named(changed: Callable[..., Path], shard_bytes: int | None) -> None:
    """Nothing about the files is wrong: the index names what is there, and preflight finds it whole."""
    folder = changed(without_second_layer, shard_bytes=shard_bytes)
    read_facts(folder)
    assert len(list(folder.glob("*.safetensors"))) == (1 if shard_bytes is None else 4)
    with pytest.raises(SourceCorrupt, match=r"lacks 9 of the 21 weights .* model\.layers\.1\.input_layer") as raised:
        load(folder)
    assert "fetch the checkpoint again" in raised.value.message
    assert raised.value.param == "source_model"


def test_weights_of_another_shape_are_named(changed: Callable[..., Path]) -> None:
    """The library names neither the weight nor its layer."""

    def halve(weights: Weights) -> Weights:
        name = "model.layers.1.mlp.up_proj.weight"
        return {**weights, name: np.ascontiguousarray(weights[name][:16])}

    with pytest.raises(SourceCorrupt, match=r"^1 of the .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load(changed(halve))


def test_a_tied_layer_is_not_missing(changed: Callable[..., Path]) -> None:
    def untie(weights: Weights) -> Weights:
        return {name: weight for name, weight in weights.items() if name != "lm_head.weight"}

    model = load(changed(untie, tie_word_embeddings=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_layer_that_is_not_tied_is_missing(changed: Callable[..., Path]) -> None:
    def untie(weights: Weights) -> Weights:
        return {name: weight for name, weight in weights.items() if name != "lm_head.weight"}

    with pytest.raises(SourceCorrupt, match=r"lacks 1 of the 21 weights .*: lm_head\.weight\."):
        load(changed(untie))


def test_a_buffer_that_the_code_makes_is_not_missing(tiny: Path) -> None:
    """Code that comes with models keeps its rotary frequencies among the weights; their checkpoints often do not."""
    import torch
    from transformers import LlamaForCausalLM

    class WithTable(LlamaForCausalLM):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.register_buffer("table", torch.arange(4.0))

    with whole_weights():
        model = WithTable.from_pretrained(tiny)
    assert model.table.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_gguf_file_that_lacks_a_layer_is_refused(tmp_path: Path, tiny: Path) -> None:
    model = json.loads((tiny / "tokenizer.json").read_text("utf-8"))["model"]
    fields = byte_level_tokenizer("qwen2", model["vocab"], [" ".join(pair) for pair in model["merges"]])
    weights = without_second_layer(random_weights("qwen3", 384))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_checkpoint(write_tiny_gguf(tmp_path / "tiny.gguf", "qwen3", weights, fields), folder)
    with pytest.raises(SourceCorrupt, match=r"lacks 11 of the 25 weights .* model\.layers\.1\."):
        load(folder)


def test_outside_nothing_is_changed(tiny: Path) -> None:
    from transformers import PreTrainedModel

    before = PreTrainedModel.__dict__["from_pretrained"]
    load(tiny)
    assert PreTrainedModel.__dict__["from_pretrained"] is before
