from __future__ import annotations

import tracemalloc

import pytest

from inference_worker.engine import TokenEvent
from inference_worker.kept_entries import KeptEntries
from inference_worker.running_generation import RunningGeneration
from inference_worker.text.variant_text import VariantText
from shared.ids import new_id
from shared.journal import EntryKind, NewEntry, encode_frame
from shared.schemas.generation import Channel, GenerationDelta, TokenScore
from shared.schemas.workers import Generate
from tests.helpers.messages import generation_request, generation_started

TEXT = VariantText.byte_level()


def delta(seq: int, text: str, channel: Channel = "answer", scores: tuple[TokenScore, ...] | None = None) -> bytes:
    return encode_frame(GenerationDelta(generation_id="g", seq=seq, text=text, channel=channel, logprobs=scores))


def entry(kind: EntryKind, seq: int, token_ids: tuple[int, ...], frame: bytes) -> NewEntry:
    return NewEntry("g", 3, kind, seq, token_ids, frame)


SCORE = TokenScore(token_id=10, token="é", logprob=-0.25, token_bytes=None, top=())
ENTRIES = (
    entry("started", 0, (), b'{"type":"generation.started"}'),
    entry("delta", 1, (7,), delta(1, "a")),
    entry("held", 1, (8, 151_935), b""),
    entry("delta", 2, (9, 4_294_967_295), delta(2, 'é"\\\n,"channel":"answer"}')),
    entry("delta", 3, (), delta(3, "why", "reasoning")),
    entry("delta", 4, (), delta(4, '{"index":0,"arguments":"{"}', "tool_call")),
    entry("delta", 5, (10,), delta(5, "x", scores=(SCORE,))),
    # Written by somebody who orders the fields otherwise, numbers them otherwise, or has nothing to say.
    entry("delta", 6, (), b'{"seq":6,"type":"generation.delta"}'),
    entry("delta", 7, (), delta(8, "y")),
    entry("delta", 8, (), b""),
    entry("resumed", 8, (), b'{"type":"generation.resumed"}'),
    entry("finished", 8, (2,), b'{"type":"generation.finished"}'),
)


@pytest.mark.parametrize("count", range(len(ENTRIES) + 1))
def test_what_is_kept_comes_back_as_it_was(count: int) -> None:
    kept = KeptEntries("g", 3)
    for one in ENTRIES:
        kept.add(one)
    assert tuple(kept.after(count)) == ENTRIES[count:]
    assert len(kept) == len(ENTRIES)


def test_the_end_is_known() -> None:
    kept = KeptEntries("g", 3)
    kept.add(ENTRIES[1])
    assert not kept.has_end
    kept.add(entry("failed", 1, (), b'{"type":"generation.failed"}'))
    assert kept.has_end


def test_a_delta_of_an_open_answer_keeps_few_bytes() -> None:
    """The accident: a frame holds its encoder's whole buffer, and a thousand open answers take 4 kB for each delta."""
    generation_id = new_id("gen")
    request = generation_request(generation_id)
    running = RunningGeneration(Generate(generation_id=generation_id, attempt=1, variant="m:v", waited_ms=0))
    kept = KeptEntries(generation_id, 1)
    kept.add(running.started(generation_started(generation_id), TEXT.stream(request, end_token_ids={2})))
    (token_id,) = TEXT.tokenizer.encode("a")

    def answer(deltas: int) -> None:
        for _ in range(deltas):
            for made in running.advance(TokenEvent("s", (token_id,))).entries:
                kept.add(made)

    answer(100)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        answer(2_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 2_101
    # 20 bytes of it in the buffer, 4 as the generation's token id; both grow in steps of up to an eighth.
    assert (after - before) / 2_000 < 40


def test_a_frame_is_no_larger_than_its_text() -> None:
    """A journal that is away has thousands of them wait; see the accident above."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        frames = [delta(seq, "a") for seq in range(1, 1_001)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(frames) < len(frames[-1]) + 64
