"""What every engine promises, written once; each engine's test class inherits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from inference_worker.engine import Engine, EngineInfo, Finish, SamplingParams, TokenLogprob

MakeEngine = Callable[..., Engine]
_DEADLINE_SECONDS = 60.0


@dataclass
class Heard:
    """What one sequence said."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None
    events: int = 0


@dataclass
class Started:
    """A running engine that is shared by the tests of a class."""

    engine: Engine
    info: EngineInfo

    def pump(self, *, until: Callable[[dict[str, Heard]], bool]) -> dict[str, Heard]:
        """Take events until the condition holds."""
        heard: dict[str, Heard] = {}
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not until(heard):
            assert time.monotonic() < deadline, f"nothing more came: {heard}"
            for event in self.engine.next_events(0.05):
                entry = heard.setdefault(event.sequence_id, Heard())
                assert entry.finish is None, "an event after the last one"
                assert event.token_ids or event.finish is not None, "an event that says nothing"
                entry.token_ids.extend(event.token_ids)
                entry.logprobs.extend(event.logprobs)
                entry.finish = event.finish
                entry.events += 1
        return heard

    def finish_all(self, count: int) -> dict[str, Heard]:
        """Take events until that many sequences have ended."""
        return self.pump(until=lambda heard: sum(entry.finish is not None for entry in heard.values()) == count)

    def answer(self, token_ids: Sequence[int], params: SamplingParams, sequence_id: str = "one") -> Heard:
        """One sequence alone, to its end."""
        self.engine.add(sequence_id, token_ids, params)
        return self.finish_all(1)[sequence_id]

    def is_idle(self) -> bool:
        """Whether nothing comes any more."""
        return all(self.engine.next_events(0.0) == [] for _ in range(3))


def greedy(max_new_tokens: int, *, ignore_eos: bool = True, stop_token_ids: tuple[int, ...] = ()) -> SamplingParams:
    return SamplingParams(max_new_tokens, ignore_eos=ignore_eos, stop_token_ids=stop_token_ids)


class EngineSuite:
    """Subclasses give the fixture `make_engine` (class scope): an engine with `slots`, or one that cannot start."""

    slots = 4

    @pytest.fixture(scope="class")
    @classmethod
    def started(cls, make_engine: MakeEngine) -> Iterator[Started]:
        engine = make_engine()
        try:
            yield Started(engine, engine.start())
        finally:
            engine.stop()

    @pytest.fixture
    def prompt(self) -> list[int]:
        return [1, 4093, 198, 6004, 2, 198]

    @pytest.fixture
    def long_prompt(self) -> list[int]:
        return [100 + at * 7 % 20_000 for at in range(1500)]

    def test_start_tells_what_the_host_needs(self, started: Started) -> None:
        assert started.info.slots == self.slots
        assert started.info.context_length > 0
        assert started.info.eos_token_ids

    def test_stop_is_idempotent_and_safe_before_start(self, make_engine: MakeEngine) -> None:
        engine = make_engine()
        engine.stop()
        engine.stop()

    def test_stop_drops_what_runs(self, make_engine: MakeEngine, prompt: list[int]) -> None:
        engine = make_engine()
        engine.start()
        engine.add("one", prompt, greedy(1000))
        engine.next_events(0.05)
        engine.stop()
        engine.stop()

    def test_stop_is_safe_after_a_failed_start(self, make_engine: MakeEngine) -> None:
        engine = make_engine(broken=True)
        with pytest.raises(RuntimeError):
            engine.start()
        engine.stop()
        engine.stop()

    def test_tokens_come_bit_by_bit_and_end_by_length(self, started: Started, prompt: list[int]) -> None:
        heard = started.answer(prompt, greedy(12))
        assert heard.finish is Finish.LENGTH
        assert len(heard.token_ids) == 12
        assert heard.events > 1
        assert started.is_idle()

    def test_one_token_is_the_least(self, started: Started, prompt: list[int]) -> None:
        heard = started.answer(prompt, greedy(1))
        assert (heard.finish, len(heard.token_ids)) == (Finish.LENGTH, 1)

    def test_a_stop_token_ends_the_sequence_and_is_its_last_id(self, started: Started, prompt: list[int]) -> None:
        free = started.answer(prompt, greedy(12)).token_ids
        end = free[5]
        heard = started.answer(prompt, greedy(12, stop_token_ids=(end,)))
        assert heard.finish is Finish.STOP
        assert heard.token_ids == free[: free.index(end) + 1]

    def test_more_sequences_than_slots_all_finish(self, started: Started, prompt: list[int]) -> None:
        count = self.slots * 3
        for number in range(count):
            started.engine.add(f"many-{number}", [*prompt, 300 + number], greedy(5 + number % 3))
        heard = started.finish_all(count)
        lengths = {sequence_id: len(entry.token_ids) for sequence_id, entry in heard.items()}
        assert lengths == {f"many-{number}": 5 + number % 3 for number in range(count)}
        assert {entry.finish for entry in heard.values()} == {Finish.LENGTH}

    def test_abort_in_the_queue_delivers_nothing(self, started: Started, prompt: list[int]) -> None:
        for number in range(self.slots):
            started.engine.add(f"busy-{number}", prompt, greedy(6))
        started.engine.add("queued", prompt, greedy(6))
        started.engine.abort("queued")
        assert set(started.finish_all(self.slots)) == {f"busy-{number}" for number in range(self.slots)}
        assert started.is_idle()

    def test_abort_in_prefill_delivers_nothing(self, started: Started, long_prompt: list[int]) -> None:
        started.engine.add("prefill", long_prompt, greedy(6))
        assert started.engine.next_events(0.0) == []
        started.engine.abort("prefill")
        assert started.is_idle()

    def test_abort_in_decode_delivers_nothing_more(self, started: Started, prompt: list[int]) -> None:
        started.engine.add("decode", prompt, greedy(500))
        started.pump(until=lambda heard: "decode" in heard and len(heard["decode"].token_ids) >= 2)
        started.engine.abort("decode")
        assert started.is_idle()

    def test_an_aborted_sequence_frees_its_slot(self, started: Started, prompt: list[int]) -> None:
        """Accident: an aborted chat that keeps its slot starves the others once that happened often enough."""
        for number in range(self.slots):
            started.engine.add(f"hog-{number}", prompt, greedy(1000))
        started.pump(until=lambda heard: len(heard) == self.slots)
        for number in range(self.slots):
            started.engine.abort(f"hog-{number}")
        assert started.answer(prompt, greedy(3)).finish is Finish.LENGTH

    def test_an_aborted_id_can_be_used_again(self, started: Started, prompt: list[int]) -> None:
        started.engine.add("again", prompt, greedy(1000))
        started.pump(until=lambda heard: "again" in heard)
        started.engine.abort("again")
        assert len(started.answer(prompt, greedy(4), "again").token_ids) == 4

    def test_aborting_an_unknown_or_ended_id_is_silent(self, started: Started, prompt: list[int]) -> None:
        started.engine.abort("never-seen")
        started.answer(prompt, greedy(2), "ended")
        started.engine.abort("ended")
        assert started.is_idle()

    def test_a_running_id_is_refused_and_goes_on(self, started: Started, prompt: list[int]) -> None:
        started.engine.add("twin", prompt, greedy(4))
        with pytest.raises(ValueError, match="twin"):
            started.engine.add("twin", prompt, greedy(4))
        assert len(started.finish_all(1)["twin"].token_ids) == 4

    def test_a_prompt_without_tokens_or_without_room_is_refused(self, started: Started) -> None:
        with pytest.raises(ValueError, match="empty"):
            started.engine.add("empty", [], greedy(4))
        with pytest.raises(ValueError, match="room"):
            started.engine.add("full", [300] * started.info.context_length, greedy(4))
        assert started.is_idle()

    def test_the_same_seed_gives_the_same_tokens(self, started: Started, prompt: list[int]) -> None:
        params = SamplingParams(16, temperature=1.0, top_p=0.95, seed=7, ignore_eos=True)
        first = started.answer(prompt, params).token_ids
        assert started.answer(prompt, params).token_ids == first
        other = SamplingParams(16, temperature=1.0, top_p=0.95, seed=8, ignore_eos=True)
        assert started.answer(prompt, other).token_ids != first

    def test_greedy_does_not_depend_on_the_company(self, started: Started, prompt: list[int]) -> None:
        alone = started.answer(prompt, greedy(8)).token_ids
        started.engine.add("watched", prompt, greedy(8))
        started.engine.add("beside", [*prompt, 512, 513], greedy(8))
        # Batches round differently, so only the first tokens are promised.
        assert started.finish_all(2)["watched"].token_ids[:4] == alone[:4]

    def test_min_new_tokens_holds_off_the_end(self, started: Started, prompt: list[int]) -> None:
        params = SamplingParams(24, min_new_tokens=10)
        assert len(started.answer(prompt, params).token_ids) >= 10

    def test_log_probabilities_come_where_asked_for(self, started: Started, prompt: list[int]) -> None:
        heard = started.answer(prompt, SamplingParams(6, ignore_eos=True, top_logprobs=0))
        assert len(heard.logprobs) == len(heard.token_ids) == 6
        assert all(item.logprob <= 0 for item in heard.logprobs)
        assert started.answer(prompt, greedy(6)).logprobs == []
