from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.text.text_stream import TextStream
from tests.unit.inference_worker.text.tokenizers_for_tests import byte_level

STOPS = st.lists(st.text(alphabet="abé ", min_size=1, max_size=3), max_size=2)


def test_the_end_token_is_not_shown() -> None:
    tokenizer = byte_level()
    stream = TextStream(tokenizer, end_token_ids={2})
    piece = stream.push([*tokenizer.encode("Paris."), 2])
    assert piece.text == "Paris."
    assert stream.flush().text == ""


def test_a_stop_string_ends_the_stream_at_the_token_that_completes_it() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("one.END and more")
    piece = TextStream(tokenizer, stop_strings=["END"]).push(ids)
    assert (piece.text, piece.stopped) == ("one.", True)
    assert tokenizer.decode(ids[: piece.token_count]) == "one.END"
    assert piece.token_count < len(ids)


def test_after_the_stop_nothing_comes() -> None:
    tokenizer = byte_level()
    stream = TextStream(tokenizer, stop_strings=["b"])
    assert stream.push(tokenizer.encode("abc")).stopped
    assert stream.push(tokenizer.encode("abc")).text == ""
    assert stream.flush().text == ""


@given(
    text=st.text(alphabet="abé 😀", max_size=20),
    stops=STOPS,
    before=st.integers(0, 40),
    group=st.integers(1, 4),
)
def test_a_replayed_stream_goes_on_at_the_same_place(text: str, stops: list[str], before: int, group: int) -> None:
    """Accident: after a failover, text that was held back is lost, or shown text is repeated."""
    tokenizer = byte_level()
    ids = tokenizer.encode(text)
    whole = TextStream(tokenizer, stop_strings=stops)
    shown = whole.push(ids[:before]).text
    expected = shown + whole.push(ids[before:]).text + whole.flush().text

    replayed = TextStream(tokenizer, stop_strings=stops)
    journaled = ids[:before]
    again = "".join(replayed.push(journaled[at : at + group]).text for at in range(0, len(journaled), group))
    assert again == shown
    assert again + replayed.push(ids[before:]).text + replayed.flush().text == expected
