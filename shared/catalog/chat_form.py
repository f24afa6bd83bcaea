"""How messages become a prompt where a model's tokenizer brings no chat template, and what is cut from its answers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.schemas.common import Flag, StrictMessage

TokenId = Annotated[int, Field(strict=True, ge=0)]

#: In a variant's folder, beside its chat template; missing where there are no rules.
STREAM_RULES_FILE = "stream_rules.json"
_SYSTEM, _USER, _ASSISTANT = "{system}", "{user}", "{assistant}"


class StreamRules(StrictMessage):
    """What a model writes although it is no part of its answer.

    Attributes:
        stop: texts that end an answer, not shown.
        drop: texts that are left out wherever they come.
        replace: texts that stand for others.
        strip_start: leave out the blanks that an answer begins with.
    """

    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    drop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    replace: dict[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)
    strip_start: Flag = False

    def with_those_of(self, other: StreamRules) -> StreamRules:
        """Return these rules and the other's."""
        return StreamRules(
            stop=tuple(dict.fromkeys((*self.stop, *other.stop))),
            drop=tuple(dict.fromkeys((*self.drop, *other.drop))),
            replace={**self.replace, **other.replace},
            strip_start=self.strip_start or other.strip_start,
        )


#: Answers are told as they are written.
NO_RULES = StreamRules()


class ChatForm(StrictMessage):
    """Texts around the messages of a chat.

    Attributes:
        start: what stands before all turns, with ``{system}``.
        start_without_system: the same where there is no system prompt.
        turn: a question and its answer, with ``{user}`` and ``{assistant}``; ``{number}`` is the turn's, from 1.
        current: the last question, with ``{user}``, up to where the answer begins.
        special_tokens: whether the tokenizer puts its own special tokens, such as the one that begins a text, in front.
        tokens: placeholders of tokens that have to be named by id, as in ``{user_token}``.
        stop_tokens: tokens that end an answer, by their text. They count also where the tokenizer has a template.
        stop_token_ids: tokens that end an answer, by id. They and `stream` count only where the form is taken.
        stream: what is cut from answers.
    """

    start: str = _SYSTEM
    start_without_system: str = ""
    turn: str
    current: str
    special_tokens: Flag = True
    tokens: dict[Annotated[str, Field(pattern="^[a-z_]+$")], TokenId] = Field(default_factory=dict)
    stop_tokens: tuple[str, ...] = ()
    stop_token_ids: tuple[TokenId, ...] = ()
    stream: StreamRules = StreamRules()

    @model_validator(mode="after")
    def _placeholders_stand_where_they_must(self) -> Self:
        for field, placeholders in (("start", [_SYSTEM]), ("turn", [_USER, _ASSISTANT]), ("current", [_USER])):
            text = getattr(self, field)
            if any(text.count(placeholder) != 1 for placeholder in placeholders):
                raise ValueError(f"{field} names {' and '.join(placeholders)} once")
        if self.turn.index(_USER) > self.turn.index(_ASSISTANT):
            raise ValueError("turn has the question before the answer")
        return self
