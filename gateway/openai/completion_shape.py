"""The text completion and its chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from gateway.openai.answer_shape import AnswerHead, AnswerShape, Json, count_usage
from gateway.openai.completion_fields import CompletionFields
from gateway.openai.logprobs import completion_logprobs
from shared.schemas.generation import GenerationDelta, GenerationFinished, TokenScore


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    logprobs: list[TokenScore] = field(default_factory=list)
    offset: int = 0
    finish_reason: str | None = None


class CompletionShape(AnswerShape):
    """Writes ``text_completion`` objects, which chunks are, too."""

    def __init__(self, head: AnswerHead, fields: CompletionFields) -> None:
        self._head = head
        self._fields = fields
        self._per_prompt = fields.n or 1
        self._with_logprobs = fields.logprobs is not None
        self._choices = [_Choice() for _ in range(self._per_prompt * len(fields.prompt))]

    def opening(self) -> list[Json]:
        if not self._fields.echo:
            return []
        chunks = []
        for index, choice in enumerate(self._choices):
            prompt = self._fields.prompt[index // self._per_prompt]
            choice.text.append(prompt)
            chunks.append(self._chunk(index, prompt))
        return chunks

    def delta(self, index: int, delta: GenerationDelta) -> list[Json]:
        choice = self._choices[index]
        choice.text.append(delta.text)
        told = delta.logprobs or ()
        logprobs = None
        if self._with_logprobs:
            choice.logprobs.extend(told)
            logprobs = completion_logprobs(told, choice.offset)
            choice.offset += sum(len(token.token) for token in told)
        return [self._chunk(index, delta.text, logprobs=logprobs)]

    def end(self, index: int, end: GenerationFinished) -> list[Json]:
        self._choices[index].finish_reason = end.finish_reason
        return [self._chunk(index, "", finish_reason=end.finish_reason)]

    def usage(self, ends: Mapping[int, GenerationFinished]) -> Json:
        return {**self._opened(), "choices": [], "usage": self._count(ends)}

    def whole(self, ends: Mapping[int, GenerationFinished]) -> Json:
        choices: list[JsonValue] = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": completion_logprobs(choice.logprobs, 0) if self._with_logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self._choices)
        ]
        return {
            **self._opened(),
            "system_fingerprint": self._head.fingerprint,
            "choices": choices,
            "usage": self._count(ends),
        }

    def _count(self, ends: Mapping[int, GenerationFinished]) -> Json:
        return count_usage(ends, range(0, len(self._choices), self._per_prompt))

    def _opened(self) -> Json:
        return {
            "id": self._head.id,
            "object": "text_completion",
            "created": self._head.created,
            "model": self._head.model,
        }

    def _chunk(self, index: int, text: str, *, logprobs: Json | None = None, finish_reason: str | None = None) -> Json:
        choice: Json = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk: Json = {**self._opened(), "choices": [choice]}
        return {**chunk, "usage": None} if self._fields.wants_usage_chunk else chunk
