"""What the answer must look like: a JSON schema, parsed tool calls, split reasoning."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from pydantic import JsonValue

from gateway.openai.chat_fields import ChatCompletionFields, JsonObjectResponse, JsonSchemaResponse, NamedTool, Tool
from shared.errors import InvalidRequest
from shared.schemas.models import VariantRecord
from shared.text_formats import text_formats


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How an answer is held to a form, and how it is read.

    Attributes:
        json_schema: JSON text of the schema that the answer follows; None where it is free.
        tools: definitions for the chat template.
        tool_format, reasoning_format: what the worker splits out of the text.
        forced_calls: names of the functions of which the answer, following the schema, calls one; empty where it is
            no call.
        one_call: whether only the first of several calls is told.
    """

    json_schema: str | None = None
    tools: tuple[dict[str, JsonValue], ...] = ()
    tool_format: str | None = None
    reasoning_format: str | None = None
    forced_calls: tuple[str, ...] = ()
    one_call: bool = False


def answer_format(fields: ChatCompletionFields, variant: VariantRecord) -> AnswerFormat:
    """Return the form that a request asks for.

    Raises:
        InvalidRequest: the fields contradict each other, or the model's way of writing tool calls is not known.
    """
    formats = text_formats(variant.model_type, variant.model, variant.source_model)
    schema = _response_schema(fields)
    choice = fields.tool_choice or ("auto" if fields.tools else "none")
    if choice != "none" and not fields.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    if choice == "none":
        return AnswerFormat(
            json_schema=schema, reasoning_format=None if schema is not None else formats.reasoning_format
        )
    if schema is not None:
        raise InvalidRequest("An answer cannot follow response_format and call tools.", param="response_format")
    tools = tuple(tool.model_dump(mode="json", exclude_none=True) for tool in fields.tools)
    if choice == "auto":
        if formats.tool_format is None:
            raise InvalidRequest(
                f"How {variant.model} writes tool calls is not known. Use tool_choice `required` or name a function.",
                param="tools",
            )
        return AnswerFormat(
            tools=tools,
            tool_format=formats.tool_format,
            reasoning_format=formats.reasoning_format,
            one_call=fields.parallel_tool_calls is False,
        )
    wanted = _wanted(fields.tools, choice) if isinstance(choice, NamedTool) else fields.tools
    return AnswerFormat(
        json_schema=_call_schema(wanted), tools=tools, forced_calls=tuple(tool.function.name for tool in wanted)
    )


def _response_schema(fields: ChatCompletionFields) -> str | None:
    match fields.response_format:
        case JsonObjectResponse():
            return '{"type":"object"}'
        case JsonSchemaResponse(json_schema=named):
            return orjson.dumps(named.schema_).decode()
        case _:
            return None


def _wanted(tools: tuple[Tool, ...], choice: NamedTool) -> tuple[Tool, ...]:
    named = tuple(tool for tool in tools if tool.function.name == choice.function.name)
    if not named:
        raise InvalidRequest(f"No tool is named {choice.function.name!r}.", param="tool_choice")
    return named[:1]


def _call_schema(tools: tuple[Tool, ...]) -> str:
    """Return the schema of one function's arguments, or of a call of one of several functions."""
    if len(tools) == 1:
        return orjson.dumps(_arguments_schema(tools[0])).decode()
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.function.name}, "arguments": _arguments_schema(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return orjson.dumps({"anyOf": calls}).decode()


def _arguments_schema(tool: Tool) -> dict[str, JsonValue]:
    return tool.function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}
