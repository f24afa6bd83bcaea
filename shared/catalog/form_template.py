"""Writes a chat form as a Jinja chat template, which is what inference renders.

The template keeps to what every implementation of chat templates knows. It takes any order of messages: a question
that was never answered has an empty answer, an answer that nobody asked for has an empty question, and system messages
stand together at the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from shared.catalog.chat_form import ChatForm

_TEMPLATE = """\
{{#- Written from a chat form of the catalogue: the model's tokenizer has no template of its own. -#}}
{{%- set chat = namespace(system='', asked=false, ready=false, number=1) -%}}
{{%- for message in messages if message['role'] == 'system' and message['content'] -%}}
{{%- set chat.system = chat.system + ('\\n\\n' if chat.system else '') + message['content'] -%}}
{{%- endfor -%}}
{{%- if chat.system -%}}
{{{{- {start} + chat.system + {after_system} -}}}}
{{%- else -%}}
{{{{- {bare_start} -}}}}
{{%- endif -%}}
{{%- for message in messages if message['role'] != 'system' -%}}
{{%- if message['role'] == 'assistant' -%}}
{{{{- ('' if chat.asked else {question} + {answer}) + message['content'] + {end} -}}}}
{{%- set chat.asked = false -%}}
{{%- set chat.number = chat.number + 1 -%}}
{{%- else -%}}
{{%- if chat.asked -%}}
{{{{- {end} -}}}}
{{%- set chat.number = chat.number + 1 -%}}
{{%- endif -%}}
{{%- if loop.last and add_generation_prompt -%}}
{{{{- {current} + message['content'] + {reply} -}}}}
{{%- set chat.ready = true -%}}
{{%- else -%}}
{{{{- {question} + message['content'] + {answer} -}}}}
{{%- set chat.asked = true -%}}
{{%- endif -%}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt and not chat.ready -%}}
{{{{- {current} + {reply} -}}}}
{{%- endif -%}}
"""


def form_template(form: ChatForm, *, prefix: str = "", tokens: Mapping[str, str] | None = None) -> str:
    """Return the Jinja source of a form.

    Args:
        form: the form.
        prefix: text of the special tokens that the tokenizer puts before a text, where the form has them.
        tokens: the texts of the tokens that the form names by id.
    """
    named = tokens or {}
    start, after_system = _split(form.start, named, "{system}")
    question, answer, end = _split(form.turn, named, "{user}", "{assistant}")
    current, reply = _split(form.current, named, "{user}")
    begin = prefix if form.special_tokens else ""
    (bare_start,) = _split(form.start_without_system, named)
    texts = {
        "start": begin + start,
        "after_system": after_system,
        "bare_start": begin + bare_start,
        "question": question,
        "answer": answer,
        "end": end,
        "current": current,
        "reply": reply,
    }
    return _TEMPLATE.format(**{name: _expression(text) for name, text in texts.items()})


def _expression(text: str) -> str:
    """Return the Jinja expression of a text, in which ``{number}`` is the turn's."""
    literals = (json.dumps(part, ensure_ascii=False) for part in text.split("{number}"))
    return " ~ chat.number ~ ".join(literals)


def _split(text: str, tokens: Mapping[str, str], *placeholders: str) -> list[str]:
    parts: list[str] = []
    for placeholder in placeholders:
        part, _, text = text.partition(placeholder)
        parts.append(part)
    return [_with_tokens(part, tokens) for part in (*parts, text)]


def _with_tokens(text: str, tokens: Mapping[str, str]) -> str:
    for name, token in tokens.items():
        text = text.replace(f"{{{name}}}", token)
    return text
