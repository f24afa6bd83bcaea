"""From the requests of a step to its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from gateway.client.bench.distribution import distribution
from gateway.client.bench.report import ErrorCount, StepReport
from gateway.client.bench.sample import Failure, Sample


def step_report(
    samples: Sequence[Sample],
    *,
    started_at: float,
    clock: float,
    concurrency: int | None = None,
    rate_per_second: float | None = None,
) -> StepReport:
    """Return the figures of requests, the open ones among them counted only.

    Args:
        samples: the requests.
        started_at: when the step began, in seconds since 1970.
        clock: ``time.perf_counter()`` at that moment.
        concurrency: clients of a closed loop.
        rate_per_second: the rate of an open one.
    """
    finished = [sample for sample in samples if sample.finished]
    failures = [sample.failure for sample in samples if sample.failure is not None]
    seconds = _seconds(samples)
    tokens = sum(sample.completion_tokens for sample in finished)
    timings = [sample.timings for sample in finished if sample.timings is not None]
    return StepReport(
        load="closed" if rate_per_second is None else "open",
        concurrency=concurrency,
        rate_per_second=rate_per_second,
        started_at=datetime.fromtimestamp(started_at, UTC),
        seconds=round(seconds, 3),
        sent=sum(sample.sent_at is not None for sample in samples),
        finished=len(finished),
        refused=sum(failure.refused for failure in failures),
        failed=sum(not failure.refused for failure in failures),
        unfinished=sum(sample.ended_at is None for sample in samples),
        requests_per_second=_per_second(len(finished), seconds),
        output_tokens=tokens,
        output_tokens_per_second=_per_second(tokens, seconds),
        prompt_tokens=distribution(
            (sample.prompt_tokens for sample in finished if sample.prompt_tokens is not None), digits=1
        ),
        first_token_ms=distribution(first_token_ms(finished)),
        between_tokens_ms=distribution(
            1000 * (after - before) for sample in finished for before, after in pairwise(sample.deltas_at)
        ),
        per_token_ms=distribution(per_token_ms(finished)),
        total_ms=distribution(
            1000 * (sample.ended_at - sample.intended_at) for sample in finished if sample.ended_at is not None
        ),
        queue_ms=distribution(told.queue_ms for told in timings),
        queue_to_first_token_ms=distribution(
            told.first_token_ms - told.queue_ms for told in timings if told.first_token_ms is not None
        ),
        send_delay_ms=distribution(
            1000 * (sample.sent_at - sample.intended_at) for sample in samples if sample.sent_at is not None
        ),
        errors=_errors(samples),
        deltas_by_second=_by_second([at - clock for sample in samples for at in sample.deltas_at]),
    )


def first_token_ms(samples: Sequence[Sample]) -> list[float]:
    """Return each answer's time to its first piece; an empty answer has none."""
    return [1000 * (sample.deltas_at[0] - sample.intended_at) for sample in samples if sample.deltas_at]


def per_token_ms(samples: Sequence[Sample]) -> list[float]:
    """Return each answer's time for a token after the first; an answer of one piece has none."""
    return [
        1000 * (sample.deltas_at[-1] - sample.deltas_at[0]) / (sample.completion_tokens - 1)
        for sample in samples
        if len(sample.deltas_at) > 1 and sample.completion_tokens > 1
    ]


def _seconds(samples: Sequence[Sample]) -> float:
    ends = [sample.ended_at for sample in samples if sample.ended_at is not None]
    return max(ends) - min(sample.intended_at for sample in samples) if ends else 0.0


def _per_second(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0


def _errors(samples: Sequence[Sample]) -> tuple[ErrorCount, ...]:
    kinds: dict[tuple[str, bool, int | None], list[tuple[Failure, float]]] = {}
    for sample in samples:
        if (failure := sample.failure) is not None and sample.ended_at is not None:
            latency_ms = 1000 * (sample.ended_at - sample.intended_at)
            kinds.setdefault((failure.code, failure.refused, failure.status), []).append((failure, latency_ms))
    return tuple(
        ErrorCount(
            code=code,
            message=found[0][0].message,
            refused=refused,
            status=status,
            count=len(found),
            latency_ms=distribution(latency_ms for _, latency_ms in found),
            retry_after_seconds=distribution(
                failure.retry_after_seconds for failure, _ in found if failure.retry_after_seconds is not None
            ),
        )
        for (code, refused, status), found in sorted(kinds.items(), key=lambda item: -len(item[1]))
    )


def _by_second(offsets: Sequence[float]) -> tuple[int, ...]:
    counts = Counter(int(offset) for offset in offsets if offset >= 0)
    return tuple(counts[second] for second in range(max(counts, default=-1) + 1))
