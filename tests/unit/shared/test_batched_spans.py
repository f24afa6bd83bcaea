from collections.abc import Iterator

import pytest

from shared.settings import GatewaySettings
from shared.tracing.batched_spans import QUEUED_SPANS, SPANS_A_BATCH
from shared.tracing.spans import EndedSpan, Spans, open_spans
from tests.helpers.collector import Collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def opened(collector: Collector) -> Spans:
    return open_spans(GatewaySettings(otlp_endpoint=collector.url), "gateway", "one")


def span(name: str = "named", *, parent: str | None = None, error: str = "") -> EndedSpan:
    attributes: dict[str, str | int | float | bool] = {"text": "a", "count": 2, "part": 0.5, "flag": True}
    return EndedSpan(name, TRACE, parent, 1_000, 2_000, attributes, error=error)


async def test_a_span_arrives_as_it_was(collector: Collector) -> None:
    spans = opened(collector)
    sent = span(parent="00f067aa0ba902b7", error="worker_lost")
    spans.add(sent)
    await spans.close()
    (got,) = collector.spans
    assert (got.name, got.trace_id, got.span_id, got.parent_id) == ("named", TRACE, sent.span_id, "00f067aa0ba902b7")
    assert (got.start_ns, got.end_ns, got.error, got.service) == (1_000, 2_000, "worker_lost", "ovchat-gateway")
    assert got.attributes == {"text": "a", "count": 2, "part": 0.5, "flag": True}


async def test_a_span_of_two_clocks_never_ends_before_it_begins(collector: Collector) -> None:
    spans = opened(collector)
    spans.add(EndedSpan("backwards", TRACE, None, 2_000, 1_000))
    await spans.close()
    assert (collector.spans[0].start_ns, collector.spans[0].end_ns) == (2_000, 2_000)


async def test_a_refusing_collector_is_told_of_once_and_its_return_too(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.status = 503
    spans = opened(collector)
    for _ in range(3 * SPANS_A_BATCH):
        spans.add(span())
    await spans.close()
    assert collector.spans == []
    assert capsys.readouterr().out.count("traces_not_sent") == 1


async def test_a_hanging_collector_costs_a_bounded_queue(collector: Collector) -> None:
    """The accident: spans pile up in the memory of a process whose collector is stuck."""
    collector.answers.clear()
    spans = opened(collector)
    for number in range(4 * QUEUED_SPANS):
        spans.add(span(str(number)))
    collector.answers.set()
    await spans.close()
    # What waits, and the batches that are under way when it fills.
    assert SPANS_A_BATCH <= len(collector.spans) <= QUEUED_SPANS + 4 * SPANS_A_BATCH
    assert collector.spans[-1].name == str(4 * QUEUED_SPANS - 1)


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        GatewaySettings(otlp_endpoint="file:///etc/passwd")
    assert not open_spans(GatewaySettings(otlp_endpoint=""), "gateway", "one").is_on
