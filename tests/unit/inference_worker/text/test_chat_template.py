from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference_worker.text.chat_template import ChatTemplate
from inference_worker.text.template_environment import render
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.tokenizer import Tokenizer
from shared.errors import TemplateFailed, TemplateTimeout, VariantCorrupt
from shared.schemas.generation import ChatTurn
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "blocks and special tokens": """{{ bos_token }}
    {%- for message in messages %}
    {% if message.role == 'user' %}
[INST] {{ message['content'] | trim }} [/INST]
    {% else %}
{{ message['content'] }}{{ eos_token }}
    {% endif %}
    {%- endfor %}""",
    "loop controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "json": "{{ messages | tojson }} {{ messages | tojson(indent=2) }}{% if tools is not none %}T{% endif %}",
    "generation tag": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
}
CHATS = [
    [ChatTurn(role="user", content="hi")],
    [
        ChatTurn(role="system", content="Be brief & <kind>.\n"),
        ChatTurn(role="user", content="  How are 'you'? é😀 <|im_end|>"),
        ChatTurn(role="assistant", content='Fine "thanks".'),
        ChatTurn(role="user", content="2+2=\n\n"),
    ],
]


@pytest.fixture
async def renderer() -> AsyncIterator[TemplateRenderer]:
    renderer = TemplateRenderer(time_limit_seconds=2.0)
    yield renderer
    await renderer.stop()


def model_dir(folder: Path, template: str) -> Path:
    write_tiny_tokenizer(folder, 384)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS, ids=["one", "many"])
async def test_prompts_are_those_of_hugging_face(
    tmp_path: Path, renderer: TemplateRenderer, name: str, chat: list[ChatTurn]
) -> None:
    from transformers import AutoTokenizer

    folder = model_dir(tmp_path, TEMPLATES[name])
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": message.role, "content": message.content} for message in chat]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True)

    prompt = await ChatTemplate.from_folder(folder).render(renderer, chat)
    assert list(Tokenizer.from_folder(folder).encode(prompt)) == expected


async def test_a_template_that_never_ends_is_ended_and_the_next_one_works(renderer: TemplateRenderer) -> None:
    """Accident: one model's template stops every chat of the worker."""
    quick = TemplateRenderer(time_limit_seconds=0.3)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    try:
        with pytest.raises(TemplateTimeout):
            await quick.render(endless, {})
        assert await quick.render("{{ a }}", {"a": 1}) == "1"
    finally:
        await quick.stop()


async def test_a_template_that_takes_all_memory_fails_alone(renderer: TemplateRenderer) -> None:
    with pytest.raises((TemplateFailed, TemplateTimeout)):
        await renderer.render("{{ 'x' * 8000000000 }}", {})
    assert await renderer.render("fine", {}) == "fine"


async def test_a_template_may_refuse_the_messages(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateFailed, match="roles must alternate"):
        await renderer.render("{{ raise_exception('roles must alternate') }}", {})


async def test_a_malformed_template_fails(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateFailed):
        await renderer.render("{% if %}", {})


@pytest.mark.parametrize("source", ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{% include 'x' %}"])
async def test_the_sandbox_holds(renderer: TemplateRenderer, source: str) -> None:
    with pytest.raises(TemplateFailed):
        await renderer.render(source, {"messages": []})


async def test_a_renderer_that_was_killed_is_started_again(renderer: TemplateRenderer) -> None:
    assert await renderer.render("one", {}) == "one"
    with pytest.raises(TemplateFailed):
        await renderer.render("{{ cycler.__init__.__globals__.os.kill(0, 9) }}", {})
    assert await renderer.render("two", {}) == "two"


def test_strftime_now_is_there() -> None:
    assert len(render("{{ strftime_now('%Y') }}", {})) == 4


def test_the_jinja_file_goes_before_the_config(tmp_path: Path) -> None:
    model_dir(tmp_path, "old")
    (tmp_path / "chat_template.jinja").write_text("new")
    assert ChatTemplate.from_folder(tmp_path).source == "new"


def test_a_list_of_templates_has_a_default(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    assert ChatTemplate.from_folder(tmp_path).source == "plain"


def test_no_template_and_broken_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TemplateFailed):
        ChatTemplate.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(VariantCorrupt):
        ChatTemplate.from_folder(tmp_path)
