"""The messages of a request in the form that chat templates read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from shared.schemas.generation import ChatTurn

_TOOLS_INTRODUCTION = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{tools}\n</tools>\n\n"
    "For each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n'
    "</tool_call>"
)
_MISTRAL_ID_LENGTH = 9


def template_messages(messages: Iterable[ChatTurn], *, short_ids: bool = False) -> list[dict[str, Any]]:
    """Messages with the arguments of tool calls as objects, as Hugging Face's templates want them.

    `short_ids` gives tool calls ids of nine letters or digits, because Mistral's templates refuse others.
    """
    prepared: list[dict[str, Any]] = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            item["tool_calls"] = [_call(call, short_ids) for call in message.tool_calls]
        if message.tool_call_id is not None:
            item["tool_call_id"] = _short(message.tool_call_id) if short_ids else message.tool_call_id
        prepared.append(item)
    return prepared


def with_tools_described(messages: Sequence[ChatTurn], tools: Sequence[dict[str, Any]]) -> list[ChatTurn]:
    """Messages that tell of tools in plain text, in Hermes' form, for a template that knows nothing of tools."""
    plain = [_in_plain_text(message) for message in messages]
    if not tools:
        return plain
    described = _TOOLS_INTRODUCTION.format(tools="\n".join(orjson.dumps(tool).decode() for tool in tools))
    if plain and plain[0].role == "system":
        first = plain[0].model_copy(update={"content": f"{plain[0].content}\n\n{described}"})
        return [first, *plain[1:]]
    return [ChatTurn(role="system", content=described), *plain]


def with_system_in_question(messages: Sequence[ChatTurn]) -> list[ChatTurn] | None:
    """Messages for a template without a system role: what stands there goes before the first question.

    None where there is nothing to move, or no question to move it to.
    """
    at = next((at for at, message in enumerate(messages) if message.role != "system"), 0)
    if at == 0 or messages[at].role != "user":
        return None
    contents = [message.content for message in messages[: at + 1] if message.content]
    return [messages[at].model_copy(update={"content": "\n\n".join(contents)}), *messages[at + 1 :]]


def _in_plain_text(message: ChatTurn) -> ChatTurn:
    if message.role == "tool":
        return ChatTurn(role="user", content=f"<tool_response>\n{message.content}\n</tool_response>")
    if not message.tool_calls:
        return message
    calls = (
        f"<tool_call>\n{orjson.dumps({key: function.get(key) for key in ('name', 'arguments')}).decode()}\n</tool_call>"
        for function in (_call(call, short_ids=False)["function"] for call in message.tool_calls)
    )
    return ChatTurn(role=message.role, content="\n".join(filter(None, (message.content, *calls))))


def _call(call: dict[str, Any], short_ids: bool) -> dict[str, Any]:
    function = call.get("function")
    function = dict(function) if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = orjson.loads(arguments or "{}")
        except ValueError:
            # What a model wrote badly is shown to it as it stands.
            function["arguments"] = arguments
    prepared = {**call, "type": "function", "function": function}
    if short_ids and isinstance(call.get("id"), str):
        prepared["id"] = _short(call["id"])
    return prepared


def _short(call_id: str) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()[:_MISTRAL_ID_LENGTH]
