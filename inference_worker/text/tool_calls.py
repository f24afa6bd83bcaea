"""Splits tool calls from the answer, in the formats that model families write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import orjson

from inference_worker.text.call_reader import CallReader
from inference_worker.text.channels import ChannelSplitter, Part
from inference_worker.text.stop_strings import overlap
from shared.text_formats import ToolFormat


@dataclass(frozen=True, slots=True)
class _Syntax:
    """How calls are written: `opening` stands before the first object, between them one of `separators`."""

    opening: str
    list_opening: str = ""
    separators: str = ""
    closing: str = ""
    names_outside: bool = False
    """Whether a newer form writes `name[ARGS]{…}` or `name[CALL_ID]id[ARGS]{…}`, each after an opening of its own."""


#: Without an opening the calls are the whole answer.
_SYNTAX: dict[ToolFormat, _Syntax] = {
    "hermes": _Syntax("<tool_call>", closing="</tool_call>"),
    "llama3_json": _Syntax("", separators=";"),
    "mistral": _Syntax("[TOOL_CALLS]", "[", ",", "]", names_outside=True),
}
#: Markers that may be special tokens of a tokenizer and must be seen all the same.
TOOL_MARKERS = frozenset({"<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"})
_NAME = r"[A-Za-z0-9_.-]+"
_HEAD = re.compile(rf"(?P<name>{_NAME})(?:\[CALL_ID\](?P<id>{_NAME}))?\[ARGS\]")


def _begun(marker: str) -> str:
    return "|".join(re.escape(marker[:length]) for length in range(1, len(marker) + 1))


_HEAD_BEGUN = re.compile(
    rf"{_NAME}(?:{_begun('[ARGS]')}|{_begun('[CALL_ID]')}|\[CALL_ID\]{_NAME}(?:{_begun('[ARGS]')})?)?"
)


class _Place(Enum):
    TEXT = auto()
    BEFORE_CALL = auto()
    NAME = auto()
    CALL = auto()
    AFTER_CALL = auto()


class ToolCalls(ChannelSplitter):
    """Text around the calls stays the answer, blanks before a call are dropped. What is no call after all is text."""

    def __init__(self, tool_format: ToolFormat) -> None:
        self._syntax = _SYNTAX[tool_format]
        self._place = _Place.TEXT if self._syntax.opening else _Place.BEFORE_CALL
        self._held = ""
        self._marked = ""
        """What was read of the opening, to be shown if no call follows."""
        self._named = False
        """Whether the call that is read has its name outside of the object."""
        self._reader: CallReader | None = None
        self._calls = 0

    def push(self, text: str) -> list[Part]:
        self._held += text
        parts: list[Part] = []
        moved = True
        while moved and self._held:
            before = (self._place, len(self._held))
            match self._place:
                case _Place.TEXT:
                    parts += self._text()
                case _Place.BEFORE_CALL:
                    parts += self._before_call()
                case _Place.NAME:
                    parts += self._name()
                case _Place.CALL:
                    parts += self._call()
                case _Place.AFTER_CALL:
                    self._after_call()
            moved = before != (self._place, len(self._held))
        return parts

    def flush(self) -> list[Part]:
        held, self._held = self._held, ""
        match self._place:
            case _Place.TEXT if not (self._calls and not held.strip()):
                return _answer(held)
            case _Place.BEFORE_CALL | _Place.NAME:
                return _answer(self._marked + held)
            case _Place.CALL if self._reader is not None and not self._reader.started:
                return _answer(self._marked + self._reader.raw)
        return []

    def _text(self) -> list[Part]:
        opening = self._syntax.opening
        if not opening:
            text, self._held = self._held, ""
            return _answer(text)
        before, found, after = self._held.partition(opening)
        if found:
            self._place, self._marked, self._held = _Place.BEFORE_CALL, opening, after
            return _answer(before.rstrip())
        sure = self._held[: len(self._held) - overlap(self._held, opening)].rstrip()
        self._held = self._held[len(sure) :]
        return _answer(sure)

    def _before_call(self) -> list[Part]:
        character, self._held = self._held[0], self._held[1:]
        if character == "{":
            self._place, self._named = _Place.CALL, False
            self._reader = CallReader(self._calls, strict=not self._syntax.opening)
            self._held = character + self._held
        elif self._syntax.names_outside and self._marked == self._syntax.opening and re.match(_NAME, character):
            self._place, self._held = _Place.NAME, character + self._held
        elif character.isspace() or (character == self._syntax.list_opening and character not in self._marked[1:]):
            self._marked += character
        else:
            # Not what was expected: it is text, and the character may even begin the next opening.
            text, self._marked = self._marked, ""
            self._place, self._held = _Place.TEXT, character + self._held
            return _answer(text)
        return []

    def _name(self) -> list[Part]:
        head = _HEAD.match(self._held)
        if head is not None:
            self._marked += head.group()
            self._held = self._held[head.end() :]
            self._place, self._named = _Place.CALL, True
            self._reader = CallReader.named(self._calls, head["name"], head["id"])
        elif not _HEAD_BEGUN.fullmatch(self._held):
            text, self._marked = self._marked, ""
            self._place = _Place.TEXT
            return _answer(text)
        return []

    def _call(self) -> list[Part]:
        reader = self._reader
        assert reader is not None
        deltas: list[dict[str, Any]] = []
        for at, character in enumerate(self._held, start=1):
            deltas += reader.feed(character)
            if self._named and not reader.done:
                deltas += reader.close_after_arguments()
            if reader.done or reader.failed:
                # A call that broke off was ended by a character that is not its own.
                self._held = self._held[at if reader.failed or self._named or character == "}" else at - 1 :]
                break
        else:
            self._held = ""
        parts = [Part("tool_call", orjson.dumps(delta).decode()) for delta in _packed(deltas)]
        if reader.failed:
            self._place = _Place.TEXT
            parts += _answer(self._marked + reader.raw)
        elif reader.done:
            self._calls += 1
            self._place = _Place.AFTER_CALL
        return parts

    def _after_call(self) -> None:
        syntax = self._syntax
        self._held = self._held.lstrip()
        if not self._held:
            return
        if self._held[0] in syntax.separators:
            self._place, self._marked, self._held = _Place.BEFORE_CALL, "", self._held[1:]
        elif syntax.closing and self._held.startswith(syntax.closing):
            self._place, self._held = _Place.TEXT, self._held[len(syntax.closing) :]
        elif not (syntax.closing and syntax.closing.startswith(self._held)):
            self._place = _Place.TEXT


def _answer(text: str) -> list[Part]:
    return [Part("answer", text)] if text else []


def _packed(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring pieces of arguments in one."""
    packed: list[dict[str, Any]] = []
    for delta in deltas:
        if packed and "name" not in delta and "name" not in packed[-1] and packed[-1]["index"] == delta["index"]:
            packed[-1] = {**delta, "arguments": packed[-1]["arguments"] + delta["arguments"]}
        else:
            packed.append(delta)
    return packed
