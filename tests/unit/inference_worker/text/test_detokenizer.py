from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.text.detokenizer import Detokenizer
from inference_worker.text.tokenizer import Tokenizer
from tests.unit.inference_worker.text.tokenizers_for_tests import byte_fallback, byte_level

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)


def pieces_of(tokenizer: Tokenizer, token_ids: list[int], cuts: list[int]) -> list[str]:
    """Push the ids in groups and flush at the end."""
    detokenizer = Detokenizer(tokenizer)
    pieces = []
    at = 0
    for cut in [*cuts, len(token_ids)]:
        pieces.append(detokenizer.push(token_ids[at : at + cut]))
        at += cut
    pieces.append(detokenizer.push(token_ids[at:]))
    return [*pieces, detokenizer.flush()]


@given(token_ids=st.lists(st.integers(0, 383), max_size=60), cuts=st.lists(st.integers(0, 5), max_size=60))
def test_any_token_ids_come_out_as_decoding_all_of_them(token_ids: list[int], cuts: list[int]) -> None:
    tokenizer = byte_level()
    assert "".join(pieces_of(tokenizer, token_ids, cuts)) == tokenizer.decode(token_ids)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@given(text=TEXTS, cuts=st.lists(st.integers(0, 5), max_size=60))
def test_any_text_comes_out_in_whole_characters(make: Callable[[], Tokenizer], text: str, cuts: list[int]) -> None:
    tokenizer = make()
    token_ids = list(tokenizer.encode(text))
    pieces = pieces_of(tokenizer, token_ids, cuts)
    assert "".join(pieces) == tokenizer.decode(token_ids)
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_character_of_many_tokens_is_shown_once_and_whole(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    pieces = pieces_of(tokenizer, list(tokenizer.encode("a😀b")), [1] * 20)
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]


def test_special_and_hidden_tokens_are_never_shown() -> None:
    tokenizer = byte_level()
    (letter,) = tokenizer.encode("x")
    detokenizer = Detokenizer(tokenizer, hidden_token_ids={letter})
    assert detokenizer.push([1, letter, *tokenizer.encode("y"), letter, 2]) == "y"


def test_a_special_token_does_not_make_the_next_one_the_first() -> None:
    """Accident: the blank before a word is lost when the window begins with tokens that are left out."""
    tokenizer = byte_fallback()
    ids = [*tokenizer.encode("a"), 2, *tokenizer.encode("b")]
    detokenizer = Detokenizer(tokenizer)
    assert "".join(detokenizer.push([token_id]) for token_id in ids) == "a b"


def test_an_unfinished_character_becomes_a_replacement_at_the_end() -> None:
    tokenizer = byte_level()
    first_half = tokenizer.encode("é")[:1]
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(first_half) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""
