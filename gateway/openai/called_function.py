"""Reads a forced call out of text that follows its schema, as the text comes."""

from __future__ import annotations

import re

import orjson

#: The beginning of a call of one of several functions, up to where its arguments begin.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')


class CalledFunctionText:
    """Of one function the whole text is the arguments; of several it is an object with ``name`` and ``arguments``.

    Attributes:
        name: the function that is called, once that is known.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.name = names[0] if len(names) == 1 else None
        self._is_wrapped = len(names) > 1
        self._head = ""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._ended = False

    def feed(self, text: str) -> str:
        """Take the next text and return what of it belongs to the arguments."""
        if not self._is_wrapped:
            return text
        if self.name is None:
            self._head += text
            head = _HEAD.match(self._head)
            if head is None:
                return ""
            self.name = str(orjson.loads(head[1]))
            text = self._head[head.end() :]
        return self._until_end(text)

    def _until_end(self, text: str) -> str:
        """Return the text up to the end of the arguments' object."""
        if self._ended:
            return ""
        if self._depth == 0:
            text = text.lstrip()
        for at, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._ended = True
                    return text[: at + 1]
        return text
