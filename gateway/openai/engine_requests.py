"""From an OpenAI request to the generations that answer it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.openai.answer_format import AnswerFormat
from gateway.openai.chat_fields import ChatCompletionFields, ChatMessage
from gateway.openai.completion_fields import DEFAULT_MAX_TOKENS, CompletionFields
from gateway.openai.sampling_fields import SamplingFields
from shared.errors import InvalidRequest
from shared.ids import new_id
from shared.schemas.generation import ChatTurn, EngineOptions, GenerationParams, GenerationRequest
from shared.schemas.models import VariantRecord


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, for which variant, under which request id."""

    user: str
    variant: VariantRecord
    request_id: str

    def generation(
        self,
        fields: SamplingFields,
        choice: int,
        messages: tuple[ChatTurn, ...],
        max_new_tokens: int | None,
        options: EngineOptions,
    ) -> GenerationRequest:
        """Return the generation of one choice; it belongs to no chat."""
        generation_id = new_id("gen")
        params = GenerationParams(
            temperature=1.0 if fields.temperature is None else fields.temperature,
            top_p=1.0 if fields.top_p is None else fields.top_p,
            top_k=max(fields.top_k or 0, 0),
            min_p=fields.min_p or 0.0,
            repetition_penalty=1.0 if fields.repetition_penalty is None else fields.repetition_penalty,
            presence_penalty=fields.presence_penalty or 0.0,
            frequency_penalty=fields.frequency_penalty or 0.0,
            max_new_tokens=min(max_new_tokens or self.variant.context_length, self.variant.context_length),
            # A seed of its own for every generation: engines that get none may take the same one for all.
            seed=int(generation_id[-8:], 16) if fields.seed is None else fields.seed_of(choice),
            stop=fields.stop,
        )
        return GenerationRequest(
            generation_id=generation_id,
            request_id=self.request_id,
            user=self.user,
            chat_id="",
            model=self.variant.model,
            variant=self.variant.variant,
            messages=messages,
            params=params,
            choice=choice,
            options=options.model_copy(
                update={
                    "keep_all_turns": True,
                    "min_new_tokens": fields.min_tokens or 0,
                    "ignore_eos": bool(fields.ignore_eos),
                    "stop_token_ids": fields.stop_token_ids or (),
                    "include_stop_text": bool(fields.include_stop_str_in_output),
                    "skip_special_tokens": fields.skip_special_tokens is not False,
                }
            ),
        )


def chat_generations(fields: ChatCompletionFields, asker: Asker, form: AnswerFormat) -> tuple[GenerationRequest, ...]:
    """Return the generations of a chat completion's choices.

    Raises:
        InvalidRequest: a field contradicts another, or a message has parts that are no text.
    """
    limit = fields.max_completion_tokens or fields.max_tokens
    if fields.max_tokens not in (None, limit):
        raise InvalidRequest("max_tokens and max_completion_tokens differ. Give one.", param="max_tokens")
    if fields.top_logprobs is not None and not fields.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs to be true.", param="top_logprobs")
    turns = tuple(_turn(message, at) for at, message in enumerate(fields.messages))
    options = EngineOptions(
        top_logprobs=(fields.top_logprobs or 0) if fields.logprobs else None,
        json_schema=form.json_schema,
        tools=form.tools,
        tool_format=form.tool_format,
        reasoning_format=form.reasoning_format,
        chat_template_kwargs=fields.chat_template_kwargs or {},
    )
    return tuple(asker.generation(fields, choice, turns, limit, options) for choice in range(fields.n or 1))


def completion_generations(fields: CompletionFields, asker: Asker) -> tuple[GenerationRequest, ...]:
    """Return the generations of a completion's choices, ``n`` for each prompt, prompt by prompt.

    Raises:
        InvalidRequest: a field contradicts another.
    """
    if fields.echo and fields.logprobs is not None:
        raise InvalidRequest("The prompt's log probabilities cannot be told: leave out echo or logprobs.", param="echo")
    return tuple(
        asker.generation(
            fields,
            choice,
            (),
            fields.max_tokens or DEFAULT_MAX_TOKENS,
            EngineOptions(prompt=prompt, top_logprobs=fields.logprobs),
        )
        for prompt in fields.prompt
        for choice in range(fields.n or 1)
    )


def _turn(message: ChatMessage, at: int) -> ChatTurn:
    """Return a message as the chat template gets it; text parts are joined by line breaks."""
    where = f"messages.{at}"
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequest("A tool's message names its tool_call_id.", param=f"{where}.tool_call_id")
    calls = message.tool_calls or ()
    if calls and message.role != "assistant":
        raise InvalidRequest("Only an assistant's message has tool_calls.", param=f"{where}.tool_calls")
    if message.content is None and not calls:
        raise InvalidRequest("The message has no content.", param=f"{where}.content")
    return ChatTurn(
        role="system" if message.role == "developer" else message.role,
        content=_text(message, where),
        tool_calls=tuple(
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ),
        tool_call_id=message.tool_call_id,
    )


def _text(message: ChatMessage, where: str) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts = []
    for number, part in enumerate(message.content):
        text = {"text": part.text, "refusal": part.refusal}.get(part.type)
        if text is None:
            raise InvalidRequest(
                f"A content part of type {part.type[:32]!r} cannot be read; only text can.",
                param=f"{where}.content.{number}",
            )
        texts.append(text)
    return "\n".join(texts)
