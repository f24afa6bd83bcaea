"""From a generation's deltas to OpenAI's: text, reasoning, tool calls, log probabilities."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass

import orjson
from pydantic import JsonValue

from gateway.openai.answer_format import AnswerFormat
from gateway.openai.called_function import CalledFunctionText
from shared.ids import new_id
from shared.schemas.generation import FinishReason, GenerationDelta

Json = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of a tool call; ``id`` and ``name`` come with its first one."""

    index: int
    id: str | None
    name: str | None
    arguments: str

    @classmethod
    def parse(cls, text: str) -> CallDelta:
        """Return the piece that a ``tool_call`` delta's text stands for."""
        raw = orjson.loads(text)
        return cls(raw["index"], raw.get("id"), raw.get("name"), raw.get("arguments", ""))

    def json(self) -> Json:
        """Return OpenAI's form."""
        named: Json = {} if self.name is None else {"name": self.name}
        begun: Json = {} if self.id is None else {"id": self.id, "type": "function"}
        return {"index": self.index, **begun, "function": {**named, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class ChoiceDelta:
    """A piece of a choice: one of text, reasoning or a call."""

    content: str | None = None
    reasoning: str | None = None
    call: CallDelta | None = None

    def json(self) -> Json:
        """Return OpenAI's form."""
        if self.call is not None:
            return {"tool_calls": [self.call.json()]}
        return {"content": self.content} if self.reasoning is None else {"reasoning_content": self.reasoning}


class ChoiceDeltas(ABC):
    """Reads one generation's deltas in order."""

    @abstractmethod
    def read(self, delta: GenerationDelta) -> list[ChoiceDelta]:
        """Return the OpenAI deltas of a generation's delta; none where text is held back or not told."""

    @abstractmethod
    def finish_reason(self, reason: FinishReason) -> str:
        """Return OpenAI's reason of a good end."""


def choice_deltas(form: AnswerFormat) -> ChoiceDeltas:
    """Return the reader of a choice's deltas."""
    return ForcedCall(form.forced_calls) if form.forced_calls else ChannelDeltas(one_call=form.one_call)


class ChannelDeltas(ChoiceDeltas):
    """The worker has split the channels; a ``tool_call`` delta's text is one JSON object of a call's delta."""

    def __init__(self, *, one_call: bool) -> None:
        self._one_call = one_call
        self._called: set[int] = set()

    def read(self, delta: GenerationDelta) -> list[ChoiceDelta]:
        match delta.channel:
            case "answer":
                return [ChoiceDelta(content=delta.text)]
            case "reasoning":
                return [ChoiceDelta(reasoning=delta.text)]
            case _:
                return self._call(CallDelta.parse(delta.text))

    def finish_reason(self, reason: FinishReason) -> str:
        return "tool_calls" if self._called and reason == "stop" else reason

    def _call(self, call: CallDelta) -> list[ChoiceDelta]:
        if self._one_call and call.index > 0:
            return []
        if call.index not in self._called:
            self._called.add(call.index)
            # Few models give their calls ids; OpenAI's clients need one to send a result back.
            call = dataclasses.replace(call, id=call.id or new_id("call"))
        return [ChoiceDelta(call=call)]


class ForcedCall(ChoiceDeltas):
    """The answer's text follows the schema of a call; it is told as that call."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._text = CalledFunctionText(names)
        self._named = False

    def read(self, delta: GenerationDelta) -> list[ChoiceDelta]:
        if delta.channel == "reasoning":
            return [ChoiceDelta(reasoning=delta.text)]
        arguments = self._text.feed(delta.text)
        if self._text.name is None:
            return []
        deltas: list[ChoiceDelta] = []
        if not self._named:
            self._named = True
            deltas.append(ChoiceDelta(call=CallDelta(0, new_id("call"), self._text.name, "")))
        if arguments:
            deltas.append(ChoiceDelta(call=CallDelta(0, None, None, arguments)))
        return deltas

    def finish_reason(self, reason: FinishReason) -> str:
        return "tool_calls" if self._named and reason == "stop" else reason
