from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest

from inference_worker.engine import Finish, TokenEvent, TokenLogprob
from inference_worker.running_generation import RunningGeneration
from inference_worker.text.answer_stream import AnswerStream
from inference_worker.text.channels import Part, joined
from inference_worker.text.variant_text import VariantText
from shared.errors import InternalError, WorkerLost
from shared.journal import JournalEntry, NewEntry
from shared.schemas.generation import EngineOptions, GenerationParams
from shared.schemas.workers import Generate
from tests.helpers.messages import generation_request, generation_started

TEXT = VariantText.byte_level()
EOS = 2


def stream(*stops: str) -> AnswerStream:
    return TEXT.stream(generation_request(params=GenerationParams(stop=stops)), end_token_ids={EOS})


def generation(attempt: int = 1, waited_ms: float = 5.0) -> RunningGeneration:
    ticks = iter(range(1000))
    assignment = Generate(generation_id="g", attempt=attempt, variant="m:v", waited_ms=waited_ms)
    return RunningGeneration(assignment, clock=lambda: next(ticks) / 100)


def started(running: RunningGeneration, text: AnswerStream) -> NewEntry:
    return running.started(generation_started(), text)


def event(text: str, finish: Finish | None = None, extra: tuple[int, ...] = ()) -> TokenEvent:
    return TokenEvent("g:1", (*TEXT.tokenizer.encode(text), *extra), finish)


def journaled(entries: Iterable[NewEntry]) -> list[JournalEntry]:
    return [JournalEntry(n, e.attempt, e.kind, e.seq, tuple(e.token_ids), e.frame) for n, e in enumerate(entries, 1)]


def test_deltas_are_numbered_and_the_end_names_the_last() -> None:
    running = generation()
    first = started(running, stream())
    entries = [first, *running.advance(event("ab")).entries, *running.advance(event("c", Finish.LENGTH)).entries]
    assert [(entry.kind, entry.seq) for entry in entries] == [
        ("started", 0),
        ("delta", 1),
        ("delta", 2),
        ("finished", 2),
    ]
    end = orjson.loads(entries[-1].frame)
    assert end["finish_reason"] == "length"
    assert end["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": None}
    assert end["timings"] == {"queue_ms": 5.0, "first_token_ms": 15.0, "total_ms": 25.0}


def test_text_that_is_held_back_is_a_silent_entry() -> None:
    running = generation()
    started(running, stream("XY"))
    (held,) = running.advance(event("X")).entries
    assert (held.kind, held.seq, held.frame, len(held.token_ids)) == ("held", 0, b"", 1)


def test_a_stop_string_ends_it_and_later_tokens_are_not_counted() -> None:
    running = generation()
    started(running, stream("XY"))
    advance = running.advance(event("aXYbbb"))
    assert advance.ended
    assert orjson.loads(advance.entries[-1].frame)["usage"]["completion_tokens"] == 3
    assert running.advance(event("more")).entries == ()


def test_the_end_token_is_counted_and_not_shown() -> None:
    running = generation()
    started(running, stream())
    delta, finished = running.advance(event("a", Finish.STOP, (EOS,))).entries
    assert orjson.loads(delta.frame)["text"] == "a"
    assert orjson.loads(finished.frame)["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("finish", "code"),
    [(Finish.KV_CACHE_EXHAUSTED, "kv_cache_exhausted"), (Finish.ENGINE_REJECTED, "internal_error")],
)
def test_an_engine_error_is_the_bad_end(finish: Finish, code: str) -> None:
    running = generation()
    started(running, stream())
    (failed,) = running.advance(TokenEvent("g:1", (), finish)).entries
    assert orjson.loads(failed.frame)["error"]["code"] == code


def test_another_attempt_goes_on_at_the_next_number() -> None:
    first = generation()
    entries = [started(first, stream("XY"))]
    for text in ("ab", "c", "X"):
        entries.extend(first.advance(event(text)).entries)
    second = generation(attempt=2)
    seam = second.resumed(journaled(entries), stream("XY"), prompt_tokens=7, worker_id="w2")
    assert (seam.kind, seam.seq, seam.attempt) == ("resumed", 2, 2)
    (delta,) = second.advance(event("Z")).entries
    assert (orjson.loads(delta.frame)["text"], delta.seq) == ("XZ", 3)
    assert len(second.token_ids) == 5


def test_a_journal_whose_tokens_give_another_text_is_not_continued() -> None:
    """Accident: another tokenizer version continues the answer, and the client sees text that nobody generated."""
    first = generation()
    entries = journaled([started(first, stream()), *first.advance(event("ab")).entries])
    changed = [*entries[:-1], JournalEntry(2, 1, "delta", 1, TEXT.tokenizer.encode("zz"), entries[-1].frame)]
    with pytest.raises(InternalError):
        generation(attempt=2).resumed(changed, stream(), prompt_tokens=7, worker_id="w2")


@pytest.mark.parametrize(
    ("text", "extra", "stops", "limit", "reason"),
    [
        ("ab", (), (), 2, "length"),
        ("ab", (EOS,), (), 9, "stop"),
        ("aXY", (), ("XY",), 9, "stop"),
        ("ab", (), (), 9, None),
    ],
)
def test_an_answer_that_lacked_only_its_end_is_ended_without_the_engine(
    text: str, extra: tuple[int, ...], stops: tuple[str, ...], limit: int, reason: str | None
) -> None:
    first = generation()
    entries = [started(first, stream(*stops)), *first.advance(event(text, None, extra)).entries]
    lost = [entry for entry in entries if entry.kind != "finished"]
    second = generation(attempt=2)
    second.resumed(journaled(lost), stream(*stops), prompt_tokens=7, worker_id="w2")
    end = second.end_of_replay(end_token_ids=frozenset({EOS}), max_new_tokens=limit)
    assert (None if end is None else orjson.loads(end.entries[-1].frame)["finish_reason"]) == reason


def test_cancel_ends_it_with_what_was_counted() -> None:
    running = generation(waited_ms=-0.2)
    started(running, stream())
    running.advance(event("abc"))
    end = orjson.loads(running.cancelled().frame)
    assert (end["finish_reason"], end["seq"], end["usage"]["completion_tokens"]) == ("cancelled", 1, 3)
    assert end["timings"]["queue_ms"] == 0.0
    assert running.advance(event("late")).entries == ()


def scored_event(text: str) -> TokenEvent:
    token_ids = TEXT.tokenizer.encode(text)
    logprobs = tuple(TokenLogprob(-float(at), ((token_id, -9.0),)) for at, token_id in enumerate(token_ids))
    return TokenEvent("g:1", token_ids, None, logprobs)


def test_log_probabilities_of_held_back_text_come_with_the_next_delta() -> None:
    running = generation()
    started(running, stream("XY"))
    assert running.advance(scored_event("X")).entries[0].frame == b""
    (delta,) = running.advance(scored_event("a")).entries
    frame = orjson.loads(delta.frame)
    assert [(score["token"], score["logprob"]) for score in frame["logprobs"]] == [("X", 0.0), ("a", 0.0)]
    assert frame["logprobs"][0]["top"] == [
        {"token_id": frame["logprobs"][0]["token_id"], "token": "X", "logprob": -9.0, "token_bytes": None}
    ]


@pytest.mark.parametrize(("last", "lost"), [("b", False), ("X", True)])
def test_log_probabilities_that_are_lost_with_a_worker_end_the_answer(last: str, lost: bool) -> None:
    """Accident: after a failover a client gets fewer log probabilities than tokens and does not know it."""
    first = generation()
    entries = [started(first, stream("XY")), *first.advance(scored_event("a")).entries]
    entries += first.advance(scored_event(last)).entries
    second = generation(attempt=2)

    def resume() -> NewEntry:
        return second.resumed(journaled(entries), stream("XY"), prompt_tokens=7, worker_id="w2", scored=True)

    if lost:
        with pytest.raises(WorkerLost):
            resume()
    else:
        assert resume().kind == "resumed"


def test_a_failover_goes_on_inside_a_tool_call() -> None:
    """Accident: the second worker takes the rest of a tool call for text, or tells its beginning again."""
    call = '<think>Hm</think>Yes <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    options = EngineOptions(tool_format="hermes", reasoning_format="think_tags")
    for cut in range(len(call)):
        first, second = generation(), generation(attempt=2)
        text = TEXT.stream(generation_request(options=options), end_token_ids={EOS})
        entries = [started(first, text)]
        for character in call[:cut]:
            entries += first.advance(event(character)).entries
        again = TEXT.stream(generation_request(options=options), end_token_ids={EOS})
        entries.append(second.resumed(journaled(entries), again, prompt_tokens=7, worker_id="w2"))
        entries += second.advance(event(call[cut:], Finish.STOP, (EOS,))).entries
        frames = [orjson.loads(entry.frame) for entry in entries if entry.kind == "delta"]
        parts = joined(Part(frame["channel"], frame["text"]) for frame in frames)
        assert [(part.channel, part.text) for part in parts] == [
            ("reasoning", "Hm"),
            ("answer", "Yes"),
            ("tool_call", '{"index":0,"name":"f","arguments":"{\\"a\\": 1}"}'),
        ]
        assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))


def test_cached_tokens_are_told_with_the_usage() -> None:
    running = generation()
    started(running, stream())
    event_ = event("ab", Finish.LENGTH)
    entries = running.advance(TokenEvent(event_.sequence_id, event_.token_ids, Finish.LENGTH, (), 4)).entries
    assert orjson.loads(entries[-1].frame)["usage"]["cached_tokens"] == 4


def test_log_probabilities_of_a_split_character_have_its_bytes_also_where_it_stays_unfinished() -> None:
    running = generation()
    started(running, stream())
    whole = scored_event("a😀")
    cut = TokenEvent("g:1", whole.token_ids[:-1], Finish.LENGTH, whole.logprobs[:-1])
    frames = [orjson.loads(entry.frame) for entry in running.advance(cut).entries if entry.kind == "delta"]
    scores = [score for frame in frames for score in frame["logprobs"]]
    assert len(scores) == len(whole.token_ids) - 1
    told = b"".join(bytes(score["token_bytes"] or score["token"].encode()) for score in scores)
    assert told == "a😀".encode()[:-1]


def test_tokens_without_text_have_their_log_probabilities_told_at_the_end() -> None:
    """Accident: a client that counts log probabilities finds fewer than tokens."""
    running = generation()
    started(running, stream("XYZ"))
    running.advance(scored_event("XY"))
    entries = running.advance(TokenEvent("g:1", (EOS,), Finish.STOP, (TokenLogprob(0.0),))).entries
    scores = [score for entry in entries if entry.kind == "delta" for score in orjson.loads(entry.frame)["logprobs"]]
    assert [score["token"] for score in scores] == ["X", "Y"]
