"""The chat completion and its chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from gateway.openai.answer_format import AnswerFormat
from gateway.openai.answer_shape import AnswerHead, AnswerShape, Json, count_usage
from gateway.openai.choice_deltas import CallDelta, ChoiceDelta, ChoiceDeltas, choice_deltas
from gateway.openai.logprobs import chat_logprobs
from shared.schemas.generation import GenerationDelta, GenerationFinished, TokenScore


@dataclass(slots=True)
class _Choice:
    deltas: ChoiceDeltas
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, list[CallDelta]] = field(default_factory=dict)
    logprobs: list[TokenScore] = field(default_factory=list)
    finish_reason: str | None = None


class ChatShape(AnswerShape):
    """Writes ``chat.completion`` and ``chat.completion.chunk`` objects."""

    def __init__(
        self, head: AnswerHead, form: AnswerFormat, *, choices: int, with_usage: bool, with_logprobs: bool
    ) -> None:
        self._head = head
        self._with_usage = with_usage
        self._with_logprobs = with_logprobs
        self._choices = [_Choice(choice_deltas(form)) for _ in range(choices)]

    def opening(self) -> list[Json]:
        return [self._chunk(index, {"role": "assistant", "content": ""}) for index in range(len(self._choices))]

    def delta(self, index: int, delta: GenerationDelta) -> list[Json]:
        choice = self._choices[index]
        deltas = choice.deltas.read(delta)
        for one in deltas:
            _add(choice, one)
        told = delta.logprobs or ()
        logprobs = None
        if self._with_logprobs and delta.channel == "answer":
            choice.logprobs.extend(told)
            logprobs = chat_logprobs(told)
        return [self._chunk(index, one.json(), logprobs=logprobs) for one in deltas]

    def end(self, index: int, end: GenerationFinished) -> list[Json]:
        choice = self._choices[index]
        choice.finish_reason = choice.deltas.finish_reason(end.finish_reason)
        return [self._chunk(index, {}, finish_reason=choice.finish_reason)]

    def usage(self, ends: Mapping[int, GenerationFinished]) -> Json:
        return {**self._opened("chat.completion.chunk"), "choices": [], "usage": count_usage(ends, (0,))}

    def whole(self, ends: Mapping[int, GenerationFinished]) -> Json:
        choices: list[JsonValue] = [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": chat_logprobs(choice.logprobs) if self._with_logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self._choices)
        ]
        return {
            **self._opened("chat.completion"),
            "system_fingerprint": self._head.fingerprint,
            "choices": choices,
            "usage": count_usage(ends, (0,)),
        }

    def _opened(self, kind: str) -> Json:
        return {"id": self._head.id, "object": kind, "created": self._head.created, "model": self._head.model}

    def _chunk(
        self, index: int, delta: Json, *, logprobs: Json | None = None, finish_reason: str | None = None
    ) -> Json:
        choice: Json = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk: Json = {**self._opened("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._with_usage else chunk


def _add(choice: _Choice, delta: ChoiceDelta) -> None:
    """Add a piece to what a choice says in the end."""
    if delta.content is not None:
        choice.content.append(delta.content)
    if delta.reasoning is not None:
        choice.reasoning.append(delta.reasoning)
    if delta.call is not None:
        choice.calls.setdefault(delta.call.index, []).append(delta.call)


def _call(pieces: list[CallDelta]) -> Json:
    """Return a whole call of its pieces; the first one names it."""
    arguments = "".join(piece.arguments for piece in pieces)
    return {"id": pieces[0].id, "type": "function", "function": {"name": pieces[0].name, "arguments": arguments}}


def _message(choice: _Choice) -> Json:
    content = "".join(choice.content)
    message: Json = {
        "role": "assistant",
        "content": None if choice.calls and not content else content,
        "refusal": None,
    }
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [_call(choice.calls[at]) for at in sorted(choice.calls)]
    return message
