"""GGUF files as checkpoints: the weights and the tokenizer that they were made from come out again."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from converter_worker.checkpoint_facts import read_facts
from converter_worker.gguf_checkpoint import write_checkpoint
from converter_worker.gguf_rope import llama3_factors
from converter_worker.gguf_tokenizer import build_tokenizer
from converter_worker.gguf_vocabulary import GGUFVocabulary
from converter_worker.sharded_weights import write_weights
from shared.errors import FamilyNotExported, PlatformError, SourceCorrupt
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer
from tests.helpers.tiny_gguf import Weights, byte_level_tokenizer, random_weights, write_tiny_gguf

SIZE = 384


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The tokenizer's fields, from a small trained one."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, SIZE)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    return byte_level_tokenizer("qwen2", model["vocab"], [" ".join(pair) for pair in model["merges"]])


def checkpoint(folder: Path, architecture: str, weights: Weights, fields: dict[str, object], **options: object) -> Path:
    file = write_tiny_gguf(folder / "tiny.gguf", architecture, weights, fields, **options)  # type: ignore[arg-type]
    target = folder / "checkpoint"
    target.mkdir()
    write_checkpoint(file, target)
    return target


@pytest.mark.parametrize(
    ("architecture", "class_name"),
    [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")],
)
def test_the_weights_come_out_as_they_went_in(
    tmp_path: Path, fields: dict[str, object], architecture: str, class_name: str
) -> None:
    """Query and key rows left interleaved make a model that speaks, but nonsense."""
    weights = random_weights(architecture, SIZE)
    folder = checkpoint(tmp_path, architecture, weights, fields)
    found = load_file(folder / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weight) for name, weight in weights.items())
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [class_name]
    assert (config["hidden_size"], config["num_key_value_heads"], config["tie_word_embeddings"]) == (64, 2, False)
    assert (config["rms_norm_eps"], config["rope_theta"], config["vocab_size"]) == (1e-5, 10_000.0, SIZE)
    assert "rope_scaling" not in config
    # Left out, transformers takes 128 for this family.
    assert config.get("head_dim") == (16 if architecture == "qwen3" else None)
    facts = read_facts(folder)
    assert facts.has_tokenizer
    assert facts.model_type == architecture
    assert "im_start" in (folder / "chat_template.jinja").read_text()


def test_quantized_weights_come_out_nearly_and_tied_ones_once(tmp_path: Path, fields: dict[str, object]) -> None:
    weights = random_weights("llama", SIZE, tied=True)
    folder = checkpoint(tmp_path, "llama", weights, fields, kind=GGMLQuantizationType.Q8_0)
    found = load_file(folder / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(np.allclose(found[name], weight, atol=2e-3) for name, weight in weights.items())
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_the_stretched_positions_of_llama_3_are_told(tmp_path: Path, fields: dict[str, object]) -> None:
    """Left out, they make long chats wrong and short ones right."""
    factors = llama3_factors(8, 10_000.0, 8.0)
    # From transformers' own formula for theta 10,000 and heads of 16: short waves stay, the longest is divided by 8.
    assert (factors[0], factors[-1]) == (1.0, 8.0)
    folder = checkpoint(tmp_path, "llama", random_weights("llama", SIZE), fields, rope_factors=factors)
    assert json.loads((folder / "config.json").read_text())["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


def test_factors_of_another_kind_are_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    with pytest.raises(FamilyNotExported, match="not known here"):
        checkpoint(tmp_path, "llama", random_weights("llama", SIZE), fields, rope_factors=[1, 2, 3, 4, 5, 6, 7, 8.0])


@pytest.mark.parametrize(
    ("change", "code", "advice"),
    [
        (lambda fields: ("phi3", fields), "family_not_exported", "llama, qwen2, qwen3"),
        (lambda fields: ("llama", fields | {"llama.expert_count": 8}), "family_not_exported", "mixture of experts"),
        (lambda fields: ("llama", fields | {"tokenizer.ggml.model": "bert"}), "tokenizer_missing", "'gpt2'"),
        (lambda fields: ("llama", fields | {"tokenizer.ggml.pre": "tekken"}), "tokenizer_missing", "llama-bpe"),
        (lambda fields: ("llama", fields | {"llama.rope.scaling.type": "longrope",
                                            "llama.rope.scaling.factor": 4.0}), "family_not_exported", "longrope"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_works(
    tmp_path: Path,
    fields: dict[str, object],
    change: Callable[[dict[str, object]], tuple[str, dict[str, object]]],
    code: str,
    advice: str,
) -> None:
    architecture, changed = change(fields)
    with pytest.raises(PlatformError) as refused:
        checkpoint(tmp_path, architecture, random_weights("llama", SIZE), changed)
    assert refused.value.code == code
    assert advice in refused.value.message


@pytest.mark.parametrize(
    ("name", "advice"), [("cut.gguf", "not completely copied"), ("x-00001-of-00002.gguf", "merge")]
)
def test_a_file_that_is_not_whole_is_told(tmp_path: Path, fields: dict[str, object], name: str, advice: str) -> None:
    file = write_tiny_gguf(tmp_path / "whole.gguf", "llama", random_weights("llama", SIZE), fields)
    (tmp_path / name).write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(SourceCorrupt, match=advice):
        write_checkpoint(tmp_path / name, tmp_path)


def test_large_weights_are_written_in_shards(tmp_path: Path) -> None:
    weights = {f"w{number}": np.full((100, 10), number, dtype=np.float16) for number in range(5)}
    write_weights(weights.items(), tmp_path, shard_bytes=4000)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    (tmp_path / "config.json").write_text("{}")
    assert read_facts(tmp_path).parameters == 5000


@pytest.mark.parametrize(
    ("pre_tokenizer", "digits"), [("qwen2", ["1", "2", "3", "4"]), ("llama-bpe", ["123", "4"]), ("gpt-2", ["1234"])]
)
def test_numbers_are_split_as_the_family_splits_them(pre_tokenizer: str, digits: list[str]) -> None:
    """A tokenizer that splits otherwise than the one of the training gives tokens that the model hardly knows."""
    tokens = ["<|a|>", "<|b|>", "<|c|>", "1", "2", "3", "4", "12", "123", "1234", "a", "Ġ", "Ġa"]
    merges = ["1 2", "12 3", "123 4", "Ġ a"]
    vocabulary = GGUFVocabulary(
        "gpt2", pre_tokenizer, tokens, [3, 3, 3] + [1] * 10, merges, [], 1, 2, None, None, None, 8, adds_bos=False
    )
    tokenizer = build_tokenizer(vocabulary)
    assert tokenizer.encode("1234 a<|c|>").tokens == [*digits, "Ġa", "<|c|>"]
    assert tokenizer.decode(tokenizer.encode("1234 a").ids) == "1234 a"


def merged_by_score(text: str, scores: dict[str, float]) -> list[str]:
    """Return SentencePiece's pieces of a text: the pair that makes the best piece first, the leftmost of equals."""
    pieces = list("▁" + text.replace(" ", "▁"))
    while pairs := [
        (-scores[left + right], at)
        for at, (left, right) in enumerate(itertools.pairwise(pieces))
        if left + right in scores
    ]:
        _, at = min(pairs)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    known = [[piece] if piece in scores else [f"<0x{byte:02X}>" for byte in piece.encode()] for piece in pieces]
    return list(itertools.chain.from_iterable(known))


def test_sentencepiece_merges_by_score_and_falls_back_to_bytes(tmp_path: Path) -> None:
    words = [
        "▁",
        *"abcdehlorw",
        "he",
        "ll",
        "hell",
        "lo",
        "▁h",
        "▁hell",
        "▁hello",
        "or",
        "wor",
        "▁wor",
        "▁w",
        "ld",
        "rl",
    ]
    scores = {word: -float(number) for number, word in enumerate(reversed(words))}
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocabulary = GGUFVocabulary(
        "llama", "", tokens, [2, 3, 3, *[6] * 256, *[1] * len(words)], [],
        [0.0] * 259 + [scores[word] for word in words], 1, 2, 0, None, None, 8,
    )  # fmt: skip
    tokenizer: Tokenizer = build_tokenizer(vocabulary)
    generator = np.random.default_rng(3)
    texts = ["hello world", "héllo", *("".join(generator.choice(list("abcdehlorw  é"), 12)) for _ in range(200))]
    for text in texts:
        assert tokenizer.encode(text, add_special_tokens=False).tokens == merged_by_score(text, scores), text
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("hello").tokens[0] == "<s>"
