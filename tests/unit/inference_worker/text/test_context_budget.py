from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.text.context_budget import fit_context, split_turns
from shared.errors import ContextLengthExceeded
from shared.schemas.generation import ChatTurn

SYSTEM = ChatTurn(role="system", content="S")


def turn(text: str) -> list[ChatTurn]:
    return [ChatTurn(role="user", content=text), ChatTurn(role="assistant", content="ok")]


async def encode(messages: Sequence[ChatTurn]) -> tuple[int, ...]:
    """One token for a character and two around every message."""
    return tuple(ord(letter) for message in messages for letter in f"<{message.content}>")


def chat(*texts: str) -> list[ChatTurn]:
    *history, newest = texts
    return [SYSTEM, *(message for text in history for message in turn(text)), ChatTurn(role="user", content=newest)]


async def test_a_chat_that_fits_is_left_whole() -> None:
    fitted = await fit_context(chat("one", "two"), encode, context_length=100, max_new_tokens=20)
    assert (fitted.dropped_turns, fitted.max_new_tokens) == (0, 20)


async def test_oldest_turns_go_whole_and_the_system_prompt_stays() -> None:
    messages = chat("aaaaaaaaaa", "bbbb", "cccc")
    fitted = await fit_context(messages, encode, context_length=40, max_new_tokens=20)
    assert fitted.dropped_turns == 1
    assert "".join(map(chr, fitted.token_ids)) == "<S><bbbb><ok><cccc>"


async def test_the_answer_is_cut_when_the_newest_turn_leaves_too_little() -> None:
    fitted = await fit_context(chat("old", "x" * 20), encode, context_length=30, max_new_tokens=20)
    assert fitted.dropped_turns == 1
    assert fitted.max_new_tokens == 30 - len("<S>" + "<" + "x" * 20 + ">")


async def test_a_newest_turn_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ContextLengthExceeded):
        await fit_context(chat("old", "x" * 40), encode, context_length=40, max_new_tokens=5)


async def test_exactly_one_token_of_room_is_enough() -> None:
    fitted = await fit_context([ChatTurn(role="user", content="x" * 7)], encode, context_length=10, max_new_tokens=5)
    assert fitted.max_new_tokens == 1


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    context_length=st.integers(20, 120),
    max_new_tokens=st.integers(1, 40),
)
async def test_no_turn_is_dropped_that_would_have_fitted(
    lengths: list[int], context_length: int, max_new_tokens: int
) -> None:
    messages = chat(*("x" * length for length in lengths))
    fitted = await fit_context(messages, encode, context_length=context_length, max_new_tokens=max_new_tokens)
    system, turns = split_turns(messages)
    assert len(fitted.token_ids) + fitted.max_new_tokens <= context_length
    kept = [*system, *(message for items in turns[fitted.dropped_turns :] for message in items)]
    assert fitted.token_ids == await encode(kept)
    if fitted.dropped_turns:
        one_more = [*system, *(message for items in turns[fitted.dropped_turns - 1 :] for message in items)]
        assert len(await encode(one_more)) + max_new_tokens > context_length


def test_a_turn_is_a_question_with_all_that_follows() -> None:
    system, turns = split_turns(chat("one", "two"))
    assert system == [SYSTEM]
    assert [[message.content for message in items] for items in turns] == [["one", "ok"], ["two"]]
