"""The catalogue's chat forms as inference renders them, against prompts that are written out in ``prompts/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from inference_worker.text.template_environment import render
from inference_worker.text.template_messages import template_messages, with_tools_described
from shared.catalog import ChatForm, load_catalog
from shared.catalog.form_template import form_template
from shared.schemas.generation import ChatTurn

PROMPTS = Path(__file__).parent / "prompts"
#: What the tokenizers of these models put before a text. The others put nothing, or their form says that they must not.
PREFIXES = {"llama3": "<|begin_of_text|>", "gemma": "<bos>", "chatml": "", "chatglm2": "[gMASK]sop", "red-pajama": ""}
TOKENS = {"user_token": "<reserved_106>", "assistant_token": "<reserved_107>"}


class Chat(NamedTuple):
    system: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


CHATS = {
    "en": Chat("Be brief.", ("Hi!", "2+2?", "Sure?", "And 3+3?", "Bye."), ("Hello.", "4.", "Yes.", "6.")),
    "zh": Chat(
        "请简短回答。", ("你好！", "二加二？", "确定吗？", "三加三呢？", "再见。"), ("你好。", "四。", "是的。", "六。")
    ),
    "ja": Chat(
        "短く答えて。",
        ("こんにちは！", "2+2は？", "本当？", "3+3は？", "さようなら。"),
        ("はい。", "4です。", "はい、本当です。", "6です。"),
    ),
}


def forms() -> dict[str, ChatForm]:
    catalog = load_catalog()
    found = {entry.form: catalog.form(entry) for entry in catalog.entries}
    return {name: form for name, form in found.items() if name is not None and form is not None}


def template_of(name: str) -> str:
    return form_template(forms()[name], prefix=PREFIXES.get(name, "<s>"), tokens=TOKENS)


def prompt(name: str, messages: list[tuple[str, str]], *, generation: bool = True) -> str:
    template = template_of(name)
    turns = [ChatTurn(role=role, content=content) for role, content in messages]  # type: ignore[arg-type]
    return render(template, {"messages": template_messages(turns), "add_generation_prompt": generation})


def messages(chat: Chat, turns: int, *, system: bool) -> list[tuple[str, str]]:
    said = [("system", chat.system)] if system else []
    for question, answer in zip(chat.questions, chat.answers, strict=False):
        said += [("user", question), ("assistant", answer)]
    said = said[: turns * 2 - 1 + system]
    return said if turns <= len(chat.answers) else [*said, ("user", chat.questions[-1])]


def test_every_form_has_prompts_written_out() -> None:
    assert forms().keys() == {path.stem for path in PROMPTS.glob("*.json")}


@pytest.mark.parametrize("name", sorted(path.stem for path in PROMPTS.glob("*.json")))
def test_a_prompt_is_as_written_out(name: str) -> None:
    expected = json.loads((PROMPTS / f"{name}.json").read_text("utf-8"))
    rendered = {
        f"{language} {turns} {'system' if system else 'no system'}": prompt(name, messages(chat, turns, system=system))
        for language, chat in CHATS.items()
        for turns in (1, 2, 5)
        for system in (True, False)
    }
    assert rendered == expected


@pytest.mark.parametrize("name", sorted(path.stem for path in PROMPTS.glob("*.json")))
def test_hugging_face_renders_a_form_alike(name: str) -> None:
    """Accident: the tutorial's own pipeline, which renders with it, is asked something else than ours."""
    from transformers.utils.chat_template_utils import render_jinja_template

    for chat in CHATS.values():
        said = messages(chat, 5, system=True)
        conversation = [{"role": role, "content": content} for role, content in said]
        theirs, _ = render_jinja_template(
            [conversation],
            chat_template=template_of(name),
            add_generation_prompt=True,
            return_assistant_tokens_mask=False,
        )
        assert theirs == [prompt(name, said)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # Nobody answered the first question: the user stopped, or the answer failed.
        ([("user", "a"), ("user", "b")], "ユーザー: a\nシステム: \nユーザー: b\nシステム: "),
        # An answer that nobody asked for, as a greeting.
        ([("assistant", "hi"), ("user", "b")], "ユーザー: \nシステム: hi\nユーザー: b\nシステム: "),
        # The assistant is to go on.
        ([("user", "a"), ("assistant", "b")], "ユーザー: a\nシステム: b\nユーザー: \nシステム: "),
        # What the system says in the middle stands at the start with the rest.
        ([("system", "s"), ("user", "a"), ("system", "t")], "設定: s\n\nt\nユーザー: a\nシステム: "),
        ([("system", ""), ("user", "a")], "ユーザー: a\nシステム: "),
        ([("user", "{user} {{ x }} {% if %}'\"\\n")], "ユーザー: {user} {{ x }} {% if %}'\"\\n\nシステム: "),
    ],
)
def test_messages_may_stand_in_any_order(said: list[tuple[str, str]], expected: str) -> None:
    assert prompt("youri", said) == expected


def test_turns_are_numbered_whoever_speaks() -> None:
    said = [("assistant", "hi"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")]
    rounds = ["问：\n\n答：hi\n\n", "问：a\n\n答：\n\n", "问：b\n\n答：c\n\n", "问：d\n\n答："]
    expected = "".join(f"[Round {number}]\n\n{text}" for number, text in enumerate(rounds, start=1))
    assert prompt("chatglm2", said) == f"[gMASK]sop{expected}"


def test_a_prompt_may_end_with_what_was_said() -> None:
    assert prompt("youri", [("user", "a"), ("assistant", "b")], generation=False) == "ユーザー: a\nシステム: b\n"


def test_tools_are_described_in_the_system_prompt_of_a_form() -> None:
    template = form_template(forms()["zephyr"])
    turns = with_tools_described([ChatTurn(role="user", content="a")], [{"type": "function"}])
    text = render(template, {"messages": template_messages(turns), "add_generation_prompt": True})
    assert text.startswith("<|system|>\n# Tools\n")
    assert text.endswith("<|user|>\na</s> \n<|assistant|>\n")
