from __future__ import annotations

import asyncio
import time

from gateway.client.bench.load_shapes import Bound, ClosedLoop, OpenLoop
from gateway.client.bench.sample import Failure, Sample
from gateway.client.bench.step_report import step_report


class Answerer:
    """Answers each question after a time, and remembers who asked what when."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.samples: list[Sample] = []
        self.numbers: list[int] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, number: int, place: int, intended_at: float) -> Sample:
        sample = Sample(intended_at, sent_at=time.perf_counter())
        self.samples.append(sample)
        self.numbers.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._seconds)
        self.at_once -= 1
        sample.ended_at = time.perf_counter()
        return sample


async def test_a_closed_loop_asks_each_question_once_and_never_more_at_once_than_it_has_clients() -> None:
    answerer = Answerer(0.001)
    await ClosedLoop(3, Bound(requests=20)).run(answerer, 100)
    assert sorted(answerer.numbers) == list(range(100, 120))
    assert answerer.most_at_once == 3


async def test_a_closed_loop_ends_with_its_time() -> None:
    answerer = Answerer(0.01)
    async with asyncio.timeout(10):
        await ClosedLoop(2, Bound(seconds=0.1)).run(answerer)
    assert all(sample.finished for sample in answerer.samples)


async def test_an_open_loop_waits_for_nobody_and_hides_no_wait() -> None:
    """The accident: the load stalls, sends late, counts from there, and the stall is in no figure.

    Each answer holds the whole client up, so the last question is sent long after it was to be.
    """

    async def stall(number: int, place: int, intended_at: float) -> Sample:
        sample = Sample(intended_at, sent_at=time.perf_counter())
        time.sleep(0.02)  # noqa: ASYNC251 - the stall of the whole client is what is looked at
        sample.ended_at = time.perf_counter()
        sample.deltas_at.append(sample.ended_at)
        samples.append(sample)
        return sample

    samples: list[Sample] = []
    await OpenLoop(1000, Bound(requests=20), places=4).run(stall)
    report = step_report(samples, started_at=0, clock=0, rate_per_second=1000)
    assert report.total_ms is not None
    assert report.send_delay_ms is not None
    assert report.total_ms.max > 300
    assert report.send_delay_ms.max > 280


async def test_an_open_loop_has_its_rate_and_spreads_over_its_places() -> None:
    answerer, places = Answerer(0), set[int]()

    async def ask(number: int, place: int, intended_at: float) -> Sample:
        places.add(place)
        return await answerer(number, place, intended_at)

    await OpenLoop(2000, Bound(requests=400), places=8).run(ask)
    spread = answerer.samples[-1].intended_at - answerer.samples[0].intended_at
    assert 0.15 < spread < 0.27
    assert places == set(range(8))


def test_the_report_counts_refusals_apart_from_answers() -> None:
    answered = Sample(10.0, 10.0, [10.5, 10.7, 11.0], 11.0, prompt_tokens=5, completion_tokens=6)
    refused = Sample(10.0, 10.0, ended_at=10.05, failure=Failure("overloaded", "full", True, 503, 7.0))
    broken = Sample(10.5, 10.5, [11.0], 12.0, failure=Failure("worker_lost", "gone", False, 503))
    still_open = Sample(11.0, 11.0, [11.5])
    report = step_report([answered, refused, broken, still_open], started_at=0, clock=10.0, concurrency=4)
    assert (report.sent, report.finished, report.refused, report.failed, report.unfinished) == (4, 1, 1, 1, 1)
    assert (report.seconds, report.output_tokens, report.output_tokens_per_second) == (2.0, 6, 3.0)
    assert report.first_token_ms is not None
    assert report.first_token_ms.p50 == 500
    assert report.per_token_ms is not None
    assert report.per_token_ms.p50 == 100
    errors = {error.code: error for error in report.errors}
    assert errors["overloaded"].latency_ms is not None
    assert round(errors["overloaded"].latency_ms.max) == 50
    assert errors["overloaded"].retry_after_seconds is not None
    assert errors["overloaded"].retry_after_seconds.p50 == 7
    assert errors["worker_lost"].refused is False
    assert report.deltas_by_second == (2, 3)
