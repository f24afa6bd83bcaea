"""A model's chat template: where it is kept, and how messages become a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference_worker.text.template_messages import template_messages, with_system_in_question, with_tools_described
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.variant_files import read_json
from shared.errors import InvalidRequest, TemplateFailed, VariantCorrupt
from shared.schemas.generation import ChatTurn

#: What a template is always given; the request's own names stand beside these.
_RESERVED_NAMES = frozenset({"messages", "tools", "documents"})
_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class ChatTemplate:
    """The template's source and the special tokens that it may name."""

    def __init__(self, source: str, special_tokens: dict[str, Any]) -> None:
        self.source = source
        self._special_tokens = special_tokens

    @classmethod
    def from_folder(cls, model_dir: Path) -> ChatTemplate:
        """Read `chat_template.jinja`, or the template in `tokenizer_config.json`.

        Raises:
            VariantCorrupt: a file cannot be read.
            TemplateFailed: the model has no chat template.
        """
        try:
            config = read_json(model_dir / "tokenizer_config.json")
            special_map = read_json(model_dir / "special_tokens_map.json")
            path = model_dir / "chat_template.jinja"
            source = path.read_text(encoding="utf-8") if path.exists() else _named_default(config.get("chat_template"))
        except (OSError, ValueError) as error:
            raise VariantCorrupt(f"The tokenizer files of {model_dir.name} cannot be read: {error}") from error
        if source is None:
            raise TemplateFailed("The model has no chat template.", param="model")
        return cls(source, _special_tokens({**special_map, **config}))

    async def render(
        self,
        renderer: TemplateRenderer,
        messages: Sequence[ChatTurn],
        *,
        tools: Sequence[dict[str, Any]] = (),
        names: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt up to where the assistant's answer begins.

        A template that knows nothing of tools gets them described in the system message, and one that refuses a system
        message gets it before the first question.

        `tools` are OpenAI's definitions, `names` further variables of the template, such as `enable_thinking`.

        Raises:
            InvalidRequest: `names` has one of a template's own.
            TemplateFailed, TemplateTimeout: the template did.
        """
        if names and (taken := _RESERVED_NAMES & names.keys()):
            raise InvalidRequest(f"{min(taken)} is the template's own.", param="chat_template_kwargs")
        if not re.search(r"\btools\b", self.source):
            messages, tools = with_tools_described(messages, tools), ()
        context = {
            **self._special_tokens,
            "add_generation_prompt": True,
            **(names or {}),
            "tools": list(tools) or None,
            "documents": None,
        }
        try:
            return await renderer.render(self.source, {**context, "messages": self._prepare(messages)})
        except TemplateFailed:
            moved = with_system_in_question(messages)
            if moved is None:
                raise
        return await renderer.render(self.source, {**context, "messages": self._prepare(moved)})

    def _prepare(self, messages: Sequence[ChatTurn]) -> list[dict[str, Any]]:
        return template_messages(messages, short_ids="[TOOL_CALLS]" in self.source)


def _named_default(value: Any) -> str | None:
    """Old files keep a list of named templates; the one named default is the chat's."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return next((item["template"] for item in value if item.get("name") == "default"), None)
    return None


def _special_tokens(config: dict[str, Any]) -> dict[str, Any]:
    tokens: dict[str, Any] = {}
    for name in _SPECIAL_NAMES:
        content = _content(config.get(name))
        if content is not None:
            tokens[name] = content
    additional = [text for item in config.get("additional_special_tokens") or () if (text := _content(item))]
    if additional:
        tokens["additional_special_tokens"] = additional
    return tokens


def _content(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
