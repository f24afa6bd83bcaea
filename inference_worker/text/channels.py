"""The channels of an answer: what is shown, what is reasoning, what calls a tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from shared.schemas.generation import Channel


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one channel. Of a tool call it is a JSON object: `index`, `arguments`, first also `name`, `id?`."""

    channel: Channel
    text: str


class ChannelSplitter(ABC):
    """Sorts an answer's text into channels.

    Whatever the pieces in which the text comes, the channels say the same; text is never shown and taken back.
    """

    @abstractmethod
    def push(self, text: str) -> list[Part]:
        """What the text makes sure."""

    @abstractmethod
    def flush(self) -> list[Part]:
        """The rest at the end of the answer."""


class PlainAnswer(ChannelSplitter):
    """All of it is the answer."""

    def push(self, text: str) -> list[Part]:
        return [Part("answer", text)] if text else []

    def flush(self) -> list[Part]:
        return []


def joined(parts: Iterable[Part]) -> list[Part]:
    """The parts with neighbours of one channel in one, each tool call's arguments too."""
    whole: list[Part] = []
    for part in parts:
        if whole and whole[-1].channel == part.channel:
            text = (
                _joined_call(whole[-1].text, part.text) if part.channel == "tool_call" else whole[-1].text + part.text
            )
            if text is not None:
                whole[-1] = Part(part.channel, text)
                continue
        whole.append(part)
    return whole


def _joined_call(first: str, second: str) -> str | None:
    left: dict[str, Any] = orjson.loads(first)
    right: dict[str, Any] = orjson.loads(second)
    if left["index"] != right["index"]:
        return None
    return orjson.dumps({**left, "arguments": left["arguments"] + right["arguments"]}).decode()
