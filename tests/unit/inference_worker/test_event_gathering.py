"""Tokens that wait for others: what may be held back, and that nothing is lost or overtaken."""

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.engine import Finish, TokenEvent
from inference_worker.event_gathering import GATHER_FROM_SEQUENCES, EventGatherer

MANY = GATHER_FROM_SEQUENCES


def test_first_and_last_tokens_go_at_once_and_those_between_together() -> None:
    gatherer = EventGatherer(0.08)
    assert gatherer.take([TokenEvent("a", (1,), None, (), 5)], sequences=MANY, now=0.0) == (
        TokenEvent("a", (1,), None, (), 5),
    )
    assert gatherer.take([TokenEvent("a", (2,))], sequences=MANY, now=0.04) == ()
    assert gatherer.take([TokenEvent("a", (3,))], sequences=MANY, now=0.08) == ()
    assert gatherer.take([TokenEvent("a", (4,))], sequences=MANY, now=0.13) == (TokenEvent("a", (2, 3, 4)),)
    assert gatherer.take([TokenEvent("a", (5,))], sequences=MANY, now=0.16) == ()
    end = TokenEvent("a", (6,), Finish.STOP)
    assert gatherer.take([end], sequences=MANY, now=0.17) == (TokenEvent("a", (5, 6), Finish.STOP),)


def test_with_few_sequences_nothing_waits() -> None:
    gatherer = EventGatherer(10)
    for number in range(3):
        event = TokenEvent("a", (number,))
        assert gatherer.take([event], sequences=MANY - 1, now=0.0) == (event,)


def test_an_aborted_sequence_is_not_heard_of_again() -> None:
    gatherer = EventGatherer(10)
    gatherer.take([TokenEvent("a", (1,))], sequences=MANY, now=0.0)
    gatherer.take([TokenEvent("a", (2,))], sequences=MANY, now=0.0)
    gatherer.drop("a")
    assert gatherer.take([], sequences=0, now=0.0) == ()


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 2), st.booleans()), max_size=60),
    st.integers(1, 12),
    st.floats(0, 0.2),
)
def test_every_sequence_keeps_its_tokens_in_order(
    made: list[tuple[str, int, bool]], sequences: int, hold_seconds: float
) -> None:
    gatherer = EventGatherer(hold_seconds)
    expected: dict[str, list[int]] = {}
    got: dict[str, list[int]] = {}
    ended: set[str] = set()
    number = 0
    for step, (name, count, ends) in enumerate(made):
        if name in ended:
            continue
        ids = tuple(range(number, number + count))
        number += count
        expected.setdefault(name, []).extend(ids)
        event = TokenEvent(name, ids, Finish.LENGTH if ends else None)
        ended.update([name] if ends else [])
        for sent in gatherer.take([event], sequences=sequences, now=step * 0.03):
            got.setdefault(sent.sequence_id, []).extend(sent.token_ids)
            assert sent.finish is None or sent.sequence_id == name
        if ends:
            assert got[name] == expected[name]
    for sent in gatherer.take([], sequences=0, now=1e9):
        got.setdefault(sent.sequence_id, []).extend(sent.token_ids)
    assert got == expected
