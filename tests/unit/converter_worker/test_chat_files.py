"""What the converter writes of the catalogue's chat facts, read back as inference reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converter_worker.chat_facts import chat_facts
from converter_worker.end_tokens import add_end_tokens
from converter_worker.stages import tokenizer as tokenizer_stage
from converter_worker.stages.chat_files import ChatFacts, write_chat_files
from inference_worker.text.template_environment import render
from inference_worker.text.variant_text import VariantText
from inference_worker.variant_files import read_model_limits
from shared.catalog import ChatForm, StreamRules, load_catalog
from shared.errors import TokenizerMissing
from shared.schemas.conversion import ConversionPlan
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

FORM = ChatForm(
    start="SYS {system}\n",
    turn="Q{user}A{assistant}.",
    current="Q{user}A",
    stop_tokens=("<|im_end|>", "<|nobody|>"),
    stop_token_ids=(29,),
    stream=StreamRules(drop=("A",)),
)
MESSAGES = [{"role": "user", "content": "hi"}]


def load(folder: Path, *, template: str | None, begins: bool = False) -> Any:
    """Load the tiny tokenizer; `begins` makes it put `<|endoftext|>` before every text."""
    from tokenizers import Tokenizer, processors
    from transformers import AutoTokenizer

    folder.mkdir()
    write_tiny_tokenizer(folder, 384)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if begins:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        backend.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", 0), ("<|im_end|>", 2)]
        )
        backend.save(str(folder / "tokenizer.json"))
    return AutoTokenizer.from_pretrained(folder)


def written(tokenizer: Any, facts: ChatFacts, folder: Path) -> tuple[VariantText, tuple[int, ...]]:
    folder.mkdir()
    stop_ids = write_chat_files(tokenizer, facts, folder)
    tokenizer.save_pretrained(folder)
    return VariantText.from_folder(folder), stop_ids


def test_a_form_becomes_the_template_of_a_tokenizer_without_one(tmp_path: Path) -> None:
    tokenizer = load(tmp_path / "source", template=None)
    text, stop_ids = written(tokenizer, ChatFacts(form=FORM), tmp_path / "out")
    assert text.template is not None
    context = {"messages": MESSAGES, "add_generation_prompt": True}
    assert render(text.template.source, context) == "QhiA"
    # Hugging Face's own rendering of it is the same.
    assert tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False) == "QhiA"
    assert text.rules == StreamRules(drop=("A",))
    assert stop_ids == (2, 29)


def test_a_tokenizers_own_template_wins(tmp_path: Path) -> None:
    facts = ChatFacts(form=FORM, stop_tokens=("<|endoftext|>",), stream=StreamRules(strip_start=True))
    text, stop_ids = written(load(tmp_path / "source", template="own"), facts, tmp_path / "out")
    assert text.template is not None
    assert text.template.source == "own"
    assert text.rules == StreamRules(strip_start=True)
    assert stop_ids == (2, 0)


def test_a_model_of_which_nothing_is_known_gets_nothing(tmp_path: Path) -> None:
    text, stop_ids = written(load(tmp_path / "source", template=None), ChatFacts(), tmp_path / "out")
    assert (text.template, text.rules, stop_ids) == (None, StreamRules(), ())
    assert not (tmp_path / "out" / "stream_rules.json").exists()


@pytest.mark.parametrize("special_tokens", [True, False])
def test_tokens_that_the_tokenizer_puts_before_a_text_stand_in_the_prompt(tmp_path: Path, special_tokens: bool) -> None:
    tokenizer = load(tmp_path / "source", template=None, begins=True)
    form = FORM.model_copy(update={"special_tokens": special_tokens})
    text, _ = written(tokenizer, ChatFacts(form=form), tmp_path / "out")
    assert text.template is not None
    prompt = render(text.template.source, {"messages": MESSAGES, "add_generation_prompt": True})
    # With them as the tutorial tokenizes the same text, but for the end of text, which no unfinished answer has.
    expected = tokenizer("QhiA", add_special_tokens=special_tokens)["input_ids"]
    assert text.tokenizer.encode(prompt) == tuple(expected[:-1] if special_tokens else expected)


def test_a_token_that_is_named_by_id_is_one_token_in_the_prompt(tmp_path: Path) -> None:
    tokenizer = load(tmp_path / "source", template=None)
    form = FORM.model_copy(
        update={
            "turn": "{ask}{user}{reply}{assistant}",
            "current": "{ask}{user}{reply}",
            "tokens": {"ask": 300, "reply": 301},
        }
    )
    text, _ = written(tokenizer, ChatFacts(form=form), tmp_path / "out")
    assert text.template is not None
    prompt = render(text.template.source, {"messages": MESSAGES, "add_generation_prompt": True})
    assert text.tokenizer.encode(prompt) == (300, *text.tokenizer.encode("hi"), 301)


def test_the_facts_of_a_plan_are_those_of_its_model() -> None:
    catalog = load_catalog()
    youri = ConversionPlan(source_model="/checkpoints/y", model="youri-7b-chat", variants=())
    assert ChatFacts.model_validate(chat_facts(catalog, youri)).form == catalog.form(catalog.find("youri-7b-chat"))
    chatglm = ConversionPlan(source_model="THUDM/chatglm3-6b", model="mine", variants=())
    found = ChatFacts.model_validate(chat_facts(catalog, chatglm))
    assert (found.form, found.stream.replace) == (None, {"[[训练时间]]": "2023年"})
    demo = ConversionPlan(source_model="HuggingFaceTB/SmolLM2-135M-Instruct", model="demo", variants=())
    assert ChatFacts.model_validate(chat_facts(catalog, demo)) == ChatFacts()
    unknown = ConversionPlan(source_model="a/b", model="b", variants=())
    assert ChatFacts.model_validate(chat_facts(catalog, unknown)) == ChatFacts()


def test_the_tokenizer_stage_writes_them(tmp_path: Path) -> None:
    load(tmp_path / "source", template=None)
    arguments: dict[str, object] = {
        "source_dir": str(tmp_path / "source"),
        "output_dir": str(tmp_path / "out"),
        "chat": ChatFacts(form=FORM).model_dump(mode="json"),
    }
    result = tokenizer_stage.run(arguments, lambda progress, message: None)
    assert (result.has_chat_template, result.stop_token_ids) == (True, (2, 29))
    assert VariantText.from_folder(tmp_path / "out").template is not None


def test_a_token_that_the_tokenizer_does_not_have_is_told(tmp_path: Path) -> None:
    form = FORM.model_copy(update={"tokens": {"ask": 9999}})
    with pytest.raises(TokenizerMissing, match="the token 9999"):
        written(load(tmp_path / "source", template=None), ChatFacts(form=form), tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "generation", "added", "expected"),
    [
        ({"eos_token_id": 2}, {"eos_token_id": [2, 7], "top_k": 5}, [7, 9], (2, 7, 9)),
        ({"eos_token_id": 2}, {}, [9], (2, 9)),
        ({"eos_token_id": 2}, None, [9], (2, 9)),
        ({}, None, [9], (9,)),
    ],
)
def test_stop_tokens_stand_where_inference_looks_for_them(
    tmp_path: Path,
    config: dict[str, object],
    generation: dict[str, object] | None,
    added: list[int],
    expected: tuple[int, ...],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    add_end_tokens(tmp_path, added)
    assert read_model_limits(tmp_path).eos_token_ids == expected
    kept = json.loads((tmp_path / "generation_config.json").read_text())
    assert {**kept, "eos_token_id": 0} == {**(generation or {}), "eos_token_id": 0}


def test_a_configuration_that_names_them_all_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    for token_ids in ([], [2]):
        add_end_tokens(tmp_path, token_ids)
    assert not (tmp_path / "generation_config.json").exists()
