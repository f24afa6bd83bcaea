"""The body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator

from gateway.openai.sampling_fields import STREAM_OPTIONS_ARE_FOR_STREAMS, SamplingFields
from shared.schemas.common import WHOLE, Flag
from shared.schemas.schema_rules import FILLED, GIVEN, TRUE, Schema, has, no, rules, when

JsonPart = TypeVar("JsonPart")


def _storable(value: JsonPart) -> JsonPart:
    """Refuse what the queue cannot carry: whole numbers beyond 64 bits, and a depth that nobody means."""
    try:
        orjson.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"it cannot be passed on: {error}") from error
    return value


class OpenAIPart(BaseModel):
    """Base of the parts of a request."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class ContentPart(OpenAIPart):
    """A piece of a message; only text is served."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [has(type={"const": kind}, **{kind: GIVEN}) for kind in ("text", "refusal")]}
    )

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(OpenAIPart):
    """What an assistant's message called; ``arguments`` is JSON text."""

    name: str
    arguments: str


class CalledTool(OpenAIPart):
    """A tool call of a former answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(OpenAIPart):
    """A message of the conversation."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            when(has(role={"const": "tool"}), has(tool_call_id={"type": "string", "minLength": 1})),
            when(has(tool_calls=FILLED), has(role={"const": "assistant"})),
            when(no(has(content=GIVEN)), has(tool_calls=FILLED)),
        )
    )

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[CalledTool, ...] | None = None
    tool_call_id: str | None = None


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_storable)]


class FunctionDefinition(OpenAIPart):
    """A function that the model may call; ``parameters`` is the JSON schema of its arguments."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(OpenAIPart):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionDefinition


Tools = Annotated[tuple[Annotated[Tool, AfterValidator(_storable)], ...], Field(max_length=128)]


class NamedFunction(OpenAIPart):
    """The function of a named choice."""

    name: str


class NamedTool(OpenAIPart):
    """A choice of one tool."""

    type: Literal["function"]
    function: NamedFunction


class SchemaFormat(OpenAIPart):
    """A named JSON schema; it is always followed strictly."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    schema_: JsonObject = Field(alias="schema")
    strict: bool | None = None


class TextResponse(OpenAIPart):
    """Free text, the default."""

    type: Literal["text"]


class JsonObjectResponse(OpenAIPart):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaResponse(OpenAIPart):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: SchemaFormat


ResponseFormat = Annotated[TextResponse | JsonObjectResponse | JsonSchemaResponse, Field(discriminator="type")]


_JSON_ANSWER: Schema = {"type": "object", **has(type={"enum": ["json_object", "json_schema"]})}
_MAY_CALL: Schema = {"allOf": [has(tools=FILLED), no(has(tool_choice={"const": "none"}))]}


class ChatCompletionFields(SamplingFields):
    """A chat completion that is asked for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            STREAM_OPTIONS_ARE_FOR_STREAMS,
            when(has(top_logprobs=GIVEN), has(logprobs=TRUE)),
            when(has(tool_choice={"not": {"enum": [None, "none"]}}), has(tools=FILLED)),
            when(_MAY_CALL, no(has(response_format=_JSON_ANSWER))),
        )
    )

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1), WHOLE] | None = None
    logprobs: Flag | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20), WHOLE] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools = ()
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: Flag | None = None
    chat_template_kwargs: JsonObject | None = None

    @field_validator("tools", mode="before", json_schema_input_type=Tools | None)
    @classmethod
    def _no_tools(cls, value: JsonValue) -> JsonValue:
        return [] if value is None else value
