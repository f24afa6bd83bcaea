"""The chat templates of the catalogue's families: our prompts, token by token, are those of transformers."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference_worker.text.chat_template import ChatTemplate
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.tokenizer import Tokenizer
from shared.catalog import load_catalog
from shared.schemas.generation import ChatTurn

TEMPLATES = Path(__file__).parent / "templates"
FACTS: dict[str, dict[str, Any]] = tomllib.loads((TEMPLATES / "families.toml").read_text("utf-8"))
#: Their tokenizers have no template: the catalogue's forms stand in, which test_chat_forms.py has written out.
FORMS_ONLY = {"gpt_neox", "qwen", "baichuan"}
#: System, then questions and answers in turn.
CHATS = {
    "en": (
        "Be brief.",
        *(
            "Hi!\n",
            "Hello.",
            "  2 + 2 = ?",
            "4, I <think>.",
            "Sure?",
            "<think>\nhm\n</think>\n\nYes.",
            "And 3+3?",
            "6.",
        ),
        "Bye 😀",
    ),
    "zh": (
        "请简短回答。",
        "你好！",
        "你好。",
        "二加二？",
        "四。",
        "确定吗？",
        "是的。",
        "三加三呢？",
        "六。",
        "再见。",
    ),
    "ja": (
        "短く答えて。",
        *("こんにちは！", "はい。", "2+2は？", "4です。", "本当？", "はい、本当です。", "3+3は？", "6です。"),
        "さようなら。",
    ),
}


@pytest.fixture(scope="module")
def demo_tokenizer(demo_checkpoint: Path) -> Any:
    """The demo model's tokenizer with the special tokens of all families."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_checkpoint)
    special = {token for facts in FACTS.values() for token in facts.get("special", ())}
    # A text that is part of a word in other families.
    tokenizer.add_tokens(sorted(special - {"sop"}), special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module")
def encoder(demo_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    demo_tokenizer.save_pretrained(folder)
    return Tokenizer.from_folder(folder)


@pytest.fixture
async def renderer() -> AsyncIterator[TemplateRenderer]:
    renderer = TemplateRenderer(time_limit_seconds=10.0)
    yield renderer
    await renderer.stop()


def chat(language: str, turns: int, *, system: bool) -> list[ChatTurn]:
    instruction, *said = CHATS[language]
    messages = [ChatTurn(role="system", content=instruction)] if system else []
    for at, content in enumerate(said[: 2 * turns - 1]):
        messages.append(ChatTurn(role="assistant" if at % 2 else "user", content=content))
    return messages


def plain(messages: list[ChatTurn], *, refuses_system: bool) -> list[dict[str, Any]]:
    said = [{"role": message.role, "content": message.content} for message in messages]
    if refuses_system and said[0]["role"] == "system":
        return [{"role": "user", "content": f"{said[0]['content']}\n\n{said[1]['content']}"}, *said[2:]]
    return said


@pytest.mark.parametrize("name", FACTS)
async def test_prompts_are_those_of_transformers(
    demo_tokenizer: Any, encoder: Tokenizer, renderer: TemplateRenderer, tmp_path: Path, name: str
) -> None:
    facts = FACTS[name]
    demo_tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text("utf-8")
    demo_tokenizer.bos_token = facts.get("bos", "<|im_start|>")
    demo_tokenizer.eos_token = facts.get("eos", "<|im_end|>")
    demo_tokenizer.save_pretrained(tmp_path)
    ours = ChatTemplate.from_folder(tmp_path)
    prompts = set()
    for language in CHATS:
        for turns in (1, 2, 5):
            for system in (False, True):
                messages = chat(language, turns, system=system)
                theirs = plain(messages, refuses_system=facts.get("refuses_system", False))
                expected = demo_tokenizer.apply_chat_template(theirs, add_generation_prompt=True)
                token_ids = encoder.encode(await ours.render(renderer, messages))
                assert list(token_ids) == expected, (language, turns, system)
                prompts.add(token_ids)
    assert len(prompts) == 18, "what differs in the chat is in the prompt"


@pytest.mark.parametrize("name", sorted(name for name, facts in FACTS.items() if facts.get("refuses_system")))
def test_some_families_refuse_a_system_message(demo_tokenizer: Any, name: str) -> None:
    import jinja2

    demo_tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text("utf-8")
    with pytest.raises(jinja2.TemplateError):
        demo_tokenizer.apply_chat_template(plain(chat("en", 1, system=True), refuses_system=False))


def test_every_family_of_the_catalogue_has_a_template_or_a_form() -> None:
    catalog = load_catalog()
    families = {entry.family for entry in catalog.entries}
    written = {family for facts in FACTS.values() for family in facts["families"]}
    assert written | FORMS_ONLY == families
    assert {entry.form is not None for entry in catalog.entries if entry.family in FORMS_ONLY} == {True}
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == FACTS.keys()
