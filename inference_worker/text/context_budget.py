"""Fits a chat into the model's context by leaving out whole oldest turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import ContextLengthExceeded
from shared.schemas.generation import ChatTurn

#: Renders and tokenizes messages into prompt token ids.
EncodeChat = Callable[[Sequence[ChatTurn]], Awaitable[tuple[int, ...]]]
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """The prompt, how many whole turns were left out for it, and how many tokens the answer may have."""

    token_ids: tuple[int, ...]
    dropped_turns: int
    max_new_tokens: int


async def fit_context(
    messages: Sequence[ChatTurn], encode: EncodeChat, *, context_length: int, max_new_tokens: int
) -> FittedPrompt:
    """Keep the system prompt and as many whole newest turns as leave room for the answer.

    A turn is a user's message with all that follows it up to the next one. When even the newest turn leaves less
    than `max_new_tokens`, the answer is cut to what is left.

    Raises:
        ContextLengthExceeded: system prompt and newest turn alone leave no room for one token.
    """
    system, turns = split_turns(messages)
    whole = await encode(messages)
    if len(whole) + max_new_tokens <= context_length:
        return FittedPrompt(whole, 0, max_new_tokens)
    # Fewer turns never take more tokens, so the smallest number to drop is found by bisection: a render is dear.
    low, high = 1, max(len(turns) - 1, 0)
    best: tuple[int, tuple[int, ...]] | None = None
    while low <= high:
        middle = (low + high) // 2
        token_ids = await encode([*system, *_flat(turns[middle:])])
        if len(token_ids) + max_new_tokens <= context_length:
            best, high = (middle, token_ids), middle - 1
        else:
            low = middle + 1
    if best is not None:
        return FittedPrompt(best[1], best[0], max_new_tokens)
    dropped = max(len(turns) - 1, 0)
    newest = await encode([*system, *_flat(turns[dropped:])]) if dropped else whole
    left = context_length - len(newest)
    if left < 1:
        raise ContextLengthExceeded(
            f"The newest message takes {len(newest)} tokens; the model's context has {context_length}.",
            param="messages",
        )
    return FittedPrompt(newest, dropped, min(max_new_tokens, left))


def fit_text(token_ids: tuple[int, ...], *, context_length: int, max_new_tokens: int, param: str) -> FittedPrompt:
    """A prompt of which nothing can be left out; `param` is the field it came in. Raises ContextLengthExceeded."""
    left = context_length - len(token_ids)
    if left < 1:
        raise ContextLengthExceeded(
            f"The prompt takes {len(token_ids)} tokens; the model's context has {context_length}.", param=param
        )
    return FittedPrompt(token_ids, 0, min(max_new_tokens, left))


def split_turns(messages: Sequence[ChatTurn]) -> tuple[list[ChatTurn], list[list[ChatTurn]]]:
    """The leading system messages, and the turns after them."""
    start = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    turns: list[list[ChatTurn]] = []
    for message in messages[start:]:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return list(messages[:start]), turns


def _flat(turns: Sequence[Sequence[_Item]]) -> list[_Item]:
    return [message for turn in turns for message in turn]
