"""The body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from gateway.openai.sampling_fields import SamplingFields


class OpenAIPart(BaseModel):
    """Base of the parts of a request."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class ContentPart(OpenAIPart):
    """A piece of a message; only text is served."""

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

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[CalledTool, ...] | None = None
    tool_call_id: str | None = None


class FunctionDefinition(OpenAIPart):
    """A function that the model may call; ``parameters`` is the JSON schema of its arguments."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(OpenAIPart):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionDefinition


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
    schema_: dict[str, JsonValue] = Field(alias="schema")
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


class ChatCompletionFields(SamplingFields):
    """A chat completion that is asked for."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Annotated[tuple[Tool, ...], Field(max_length=128)] = ()
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None

    @field_validator("tools", mode="before")
    @classmethod
    def _no_tools(cls, value: JsonValue) -> JsonValue:
        return [] if value is None else value
