from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.text.stop_strings import StopStringMatcher

# Few letters, so that stop strings, their beginnings and overlaps happen all the time.
LETTERS = st.text(alphabet="ab#", max_size=24)
STOPS = st.lists(st.text(alphabet="ab#", min_size=1, max_size=5), min_size=1, max_size=3)


def first_end(text: str, stops: list[str]) -> str | None:
    """What a reader of single characters keeps: the text before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return None


@given(pieces=st.lists(LETTERS, max_size=8), stops=STOPS)
def test_the_shown_text_ends_before_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    matcher = StopStringMatcher(stops)
    shown = "".join(matcher.push(piece) for piece in pieces)
    expected = first_end("".join(pieces), stops)
    assert (matcher.matched is not None) == (expected is not None)
    if expected is None:
        assert shown + matcher.flush() == "".join(pieces)
    else:
        assert shown == expected
        assert matcher.flush() == ""


@given(pieces=st.lists(LETTERS, max_size=8), stops=STOPS)
def test_what_may_become_a_stop_string_is_held_back(pieces: list[str], stops: list[str]) -> None:
    matcher = StopStringMatcher(stops)
    shown = ""
    for piece in pieces:
        shown += matcher.push(piece)
        if matcher.matched is None:
            text = shown + matcher.held_back
            beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
            longest = max((len(beginning) for beginning in beginnings if text.endswith(beginning)), default=0)
            assert len(matcher.held_back) == longest


@given(pieces=st.lists(LETTERS, max_size=8))
def test_without_stop_strings_nothing_is_held_back(pieces: list[str]) -> None:
    matcher = StopStringMatcher()
    assert [matcher.push(piece) for piece in pieces] == pieces
    assert matcher.held_back == ""


def test_what_was_held_back_is_shown_when_it_turns_out_harmless() -> None:
    matcher = StopStringMatcher(["###"])
    assert [matcher.push("ab#"), matcher.push("#"), matcher.push("c")] == ["ab", "", "##c"]


def test_after_the_match_nothing_is_shown() -> None:
    matcher = StopStringMatcher(["END"])
    assert matcher.push("one END two") == "one "
    assert matcher.matched == "END"
    assert matcher.push("three") == ""
