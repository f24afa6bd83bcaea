"""A subscription passes each frame on once and in order, whatever way and order the frames come."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.generations.relay import Subscription, is_terminal
from shared.errors import WorkerLost
from shared.journal import JournalEntry, encode_frame
from shared.schemas.generation import GenerationDelta, GenerationFailed, GenerationFinished, Timings, Usage

END = encode_frame(
    GenerationFinished(
        generation_id="g",
        seq=0,
        finish_reason="stop",
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        timings=Timings(queue_ms=0, first_token_ms=None, total_ms=1),
    )
)


def frames(count: int) -> list[bytes]:
    deltas = [encode_frame(GenerationDelta(generation_id="g", seq=seq, text="x")) for seq in range(1, count)]
    return [*deltas, END]


def entry(n: int, frame: bytes) -> JournalEntry:
    terminal = is_terminal(frame)
    return JournalEntry(n, 1, "finished" if terminal else "delta", n, (), frame)


def test_only_the_ends_are_terminal() -> None:
    failed = encode_frame(GenerationFailed(generation_id="g", error=WorkerLost("x").body()))
    assert is_terminal(END)
    assert is_terminal(failed)
    assert not is_terminal(frames(2)[0])


@given(
    count=st.integers(1, 12),
    after=st.integers(0, 12),
    order=st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=60),
)
def test_each_frame_once_and_in_order(count: int, after: int, order: list[tuple[bool, int]]) -> None:
    all_frames = frames(count)
    got: list[bytes] = []
    subscription = Subscription("g", got.append, after_seq=min(after, count - 1))
    for live, n in order:
        if n > count:
            continue
        if live:
            subscription.offer(n, all_frames[n - 1])
        else:
            subscription.offer_entry(entry(n, all_frames[n - 1]))
    for n, frame in enumerate(all_frames, 1):
        subscription.offer_entry(entry(n, frame))
    assert subscription.ended
    seqs = [orjson.loads(frame)["seq"] for frame in got[:-1]]
    assert seqs == sorted(set(seqs))
    assert set(range(min(after, count - 1) + 1, count)) <= set(seqs)
    assert got[-1] == END


def test_a_gap_asks_for_the_journal_once_synced() -> None:
    """The accident: a frame is lost while Redis reconnects, and the answer goes on with a hole in it."""
    got: list[bytes] = []
    subscription = Subscription("g", got.append, after_seq=0)
    all_frames = frames(4)
    assert subscription.offer(2, all_frames[1]) is False, "the first journal read is still under way"
    subscription.syncing = False
    assert subscription.offer(3, all_frames[2]) is True
    assert got == []
    assert subscription.offer(1, all_frames[0]) is False
    assert got == all_frames[:3]
