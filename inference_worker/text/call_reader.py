"""Reads one tool call, a JSON object with a name and arguments, while it is being written."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import orjson

_BLANKS = " \t\r\n"
_ARGUMENTS = ("arguments", "parameters")
_KEYS = ("name", "id", "type", *_ARGUMENTS)


class _Place(Enum):
    OPENING = auto()
    KEY = auto()
    KEY_TEXT = auto()
    COLON = auto()
    VALUE_START = auto()
    VALUE = auto()


class CallReader:
    """Takes characters from the opening brace to the closing one.

    `raw` is all that was read. After `failed` or `done` it takes no more; a call that is `started` has had its name
    told and cannot fail any more, because what was said cannot be taken back.
    """

    def __init__(self, index: int, *, strict: bool) -> None:
        """`strict`: an object with any other key, or without arguments, is an ordinary answer and no call."""
        self.raw = ""
        self.started = False
        self.failed = False
        self.done = False
        self._index = index
        self._strict = strict
        self._place = _Place.OPENING
        self._key = ""
        self._value = ""
        self._depth = 0
        self._in_text = False
        self._escaped = False
        self._streams = False
        self._name: str | None = None
        self._id: str | None = None
        self._arguments: str | None = None

    @classmethod
    def named(cls, index: int, name: str, call_id: str | None) -> CallReader:
        """A reader of arguments alone, for formats that write the name outside of the object."""
        reader = cls(index, strict=False)
        head = {"name": name} if call_id is None else {"name": name, "id": call_id}
        for character in orjson.dumps(head).decode()[:-1] + ',"arguments":':
            reader.feed(character)
        reader.raw = ""
        return reader

    def close_after_arguments(self) -> list[dict[str, Any]]:
        """End the call where the arguments have ended; nothing before that."""
        return self._end() if self._arguments is not None and self._place is _Place.KEY else []

    def feed(self, character: str) -> list[dict[str, Any]]:
        """Take one character; return what is sure by it, in the form of a delta."""
        self.raw += character
        match self._place:
            case _Place.OPENING:
                self._place = _Place.KEY
            case _Place.KEY:
                return self._between(character)
            case _Place.KEY_TEXT:
                self._key_text(character)
            case _Place.COLON if character == ":":
                self._place = _Place.VALUE_START
            case _Place.COLON if character not in _BLANKS:
                self._fail()
            case _Place.VALUE_START if character not in _BLANKS:
                return self._begin_value(character)
            case _Place.VALUE:
                return self._in_value(character)
        return []

    def _between(self, character: str) -> list[dict[str, Any]]:
        if character == '"':
            self._place, self._value, self._escaped = _Place.KEY_TEXT, character, False
        elif character == "}":
            return self._end()
        elif character not in _BLANKS and character != ",":
            self._fail()
        return []

    def _key_text(self, character: str) -> None:
        self._value += character
        if self._escaped or character == "\\":
            self._escaped = not self._escaped
        elif character == '"':
            self._key = str(_parsed(self._value))
            self._place = _Place.COLON
            if self._strict and self._key not in _KEYS:
                self._fail()

    def _begin_value(self, character: str) -> list[dict[str, Any]]:
        if character in "}],:":
            return self._fail()
        self._place, self._value, self._depth = _Place.VALUE, "", 0
        self._in_text = self._escaped = False
        self._streams = (
            character == "{" and self._key in _ARGUMENTS and self._name is not None and self._arguments is None
        )
        deltas = self._start() if self._streams else []
        return deltas + self._in_value(character)

    def _in_value(self, character: str) -> list[dict[str, Any]]:
        scalar = not self._in_text and self._depth == 0 and self._value and self._value[0] not in '{["'
        if scalar and character in _BLANKS + ",}":
            deltas = self._end_value()
            return deltas if self.failed else deltas + self._between(character)
        self._value += character
        deltas = [{"index": self._index, "arguments": character}] if self._streams else []
        if self._in_text:
            if self._escaped or character == "\\":
                self._escaped = not self._escaped
            elif character == '"':
                self._in_text = False
        elif character == '"':
            self._in_text = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
        if not self._in_text and self._depth <= 0 and self._value[0] in '{["':
            deltas += self._end_value()
        return deltas

    def _end_value(self) -> list[dict[str, Any]]:
        self._place = _Place.KEY
        value = _parsed(self._value)
        if self._key == "name":
            if not isinstance(value, str) or not value:
                return self._fail()
            self._name = self._name or value
        elif self._key == "id" and isinstance(value, str):
            self._id = value
        elif self._key == "type" and self._strict and value != "function":
            return self._fail()
        elif self._key in _ARGUMENTS and self._arguments is None:
            # Some models write the arguments as a text that has the JSON in it.
            self._arguments = value if isinstance(value, str) else self._value
            if self._strict and not isinstance(value, dict):
                return self._fail()
            if self._name is not None and not self.started:
                return [*self._start(), {"index": self._index, "arguments": self._arguments}]
        return []

    def _end(self) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = []
        if not self.started:
            if self._name is None or (self._strict and self._arguments is None):
                return self._fail()
            deltas = [*self._start(), {"index": self._index, "arguments": self._arguments or "{}"}]
        self.done = True
        return deltas

    def _start(self) -> list[dict[str, Any]]:
        self.started = True
        named = {"id": self._id} if self._id is not None else {}
        return [{"index": self._index, **named, "name": self._name, "arguments": ""}]

    def _fail(self) -> list[dict[str, Any]]:
        if self.started:
            self.done = True
        else:
            self.failed = True
        return []


def _parsed(raw: str) -> Any:
    """The value of JSON text, None for what is none."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return None
