"""The demo model's checkpoint, from the package that carries it."""

import json
import struct
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from converter_worker.demo_model import (
    DEMO_REVISION,
    DEMO_SOURCE_MODEL,
)
from converter_worker.gguf_tokenizer import build_tokenizer
from converter_worker.gguf_vocabulary import GGUFVocabulary
from converter_worker.sources import LocalSource, resolve_source
from shared.catalog import load_catalog
from shared.errors import TokenizerMissing


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello there! How are you doing?", [19556, 665, 17, 1073, 359, 346, 2567, 47]),
        ("<|im_start|>user\nhi<|im_end|>", [1, 4093, 198, 6004, 2]),
    ],
)
def test_text_becomes_the_ids_that_the_model_was_trained_on(demo_checkpoint: Path, text: str, ids: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(demo_checkpoint / "tokenizer.json"))
    assert tokenizer.encode(text).ids == ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_the_checkpoint_is_complete(demo_checkpoint: Path) -> None:
    config = json.loads((demo_checkpoint / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["torch_dtype"]) == (576, 30, "float16")
    generation = json.loads((demo_checkpoint / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    assert (
        "add_generation_prompt" in json.loads((demo_checkpoint / "tokenizer_config.json").read_text())["chat_template"]
    )
    with (demo_checkpoint / "model.safetensors").open("rb") as weights:
        header = json.loads(weights.read(struct.unpack("<Q", weights.read(8))[0]))
    header.pop("__metadata__")
    assert len(header) == 272
    assert {tensor["dtype"] for tensor in header.values()} == {"F16"}
    assert header["model.embed_tokens.weight"]["shape"] == [49152, 576]


def test_the_public_source_means_the_package(demo_checkpoint: Path) -> None:
    source = resolve_source(DEMO_SOURCE_MODEL, None, packaged_demo=True, cache_folder=demo_checkpoint.parent)
    assert source == LocalSource(demo_checkpoint, DEMO_REVISION)
    entry = load_catalog().find("smollm2-135m-instruct")
    assert entry is not None
    assert entry.source_model == DEMO_SOURCE_MODEL


def test_an_unknown_pre_tokenizer_is_refused() -> None:
    vocabulary = GGUFVocabulary("gpt2", "other", ["a"], [1], ["a a"], [], 0, 0, 0, 0, "", 8)
    with pytest.raises(TokenizerMissing, match=r"\(other\).*llama-bpe.*qwen2, smollm"):
        build_tokenizer(vocabulary)
