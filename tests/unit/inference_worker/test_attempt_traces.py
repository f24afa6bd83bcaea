import pytest

from inference_worker.attempt_traces import AttemptTraces
from inference_worker.engine import TokenEvent
from inference_worker.running_generation import RunningGeneration
from inference_worker.text.variant_text import VariantText
from shared.schemas.tracing import TraceContext
from shared.schemas.workers import Generate
from shared.tracing.spans import EndedSpan
from tests.helpers.kept_spans import KeptSpans
from tests.helpers.messages import generation_request, generation_started

TEXT = VariantText.byte_level()
TRACE, OWN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = TraceContext(traceparent=f"00-{TRACE}-{OWN}-01", began_ns=0)


def begun(attempt: int = 1) -> RunningGeneration:
    """A generation that waited 5 ms and whose clock goes on by 10 ms at each look."""
    ticks = iter(range(1000))
    assignment = Generate(generation_id="g", attempt=attempt, variant="m:v", waited_ms=5.0)
    generation = RunningGeneration(assignment, clock=lambda: next(ticks) / 100)
    generation.started(generation_started(), TEXT.stream(generation_request(), end_token_ids={2}))
    return generation


def spans_of(generation: RunningGeneration, trace: TraceContext | None = CONTEXT) -> list[EndedSpan]:
    spans = KeptSpans()
    traces = AttemptTraces(spans, device="CPU", worker_id=lambda: "w")
    traces.taken(generation, trace)
    traces.left(generation, trace)
    assert all((span.trace_id, span.parent_span_id) == (TRACE, OWN) for span in spans.kept)
    return spans.kept


def milliseconds(span: EndedSpan) -> float:
    return (span.end_ns - span.start_ns) / 1e6


def test_the_phases_follow_each_other() -> None:
    generation = begun()
    generation.advance(TokenEvent("g:1", TEXT.tokenizer.encode("ab"), None))
    generation.cancelled()
    queue, prefill, decode = spans_of(generation)
    assert [span.name for span in (queue, prefill, decode)] == ["queue", "worker.prefill", "worker.decode"]
    assert queue.end_ns == prefill.start_ns
    assert prefill.end_ns == decode.start_ns
    assert [milliseconds(span) for span in (queue, prefill)] == [pytest.approx(5), pytest.approx(10)]
    assert not any(span.error for span in (queue, prefill, decode))
    assert decode.attributes["gen_ai.usage.output_tokens"] == 2


def test_an_attempt_that_was_lost_in_prefill_has_no_decode() -> None:
    _, prefill = spans_of(begun())
    assert (prefill.name, prefill.error) == ("worker.prefill", "attempt_lost")


def test_an_attempt_that_was_lost_in_decode_had_its_prefill() -> None:
    generation = begun()
    generation.advance(TokenEvent("g:1", TEXT.tokenizer.encode("ab"), None))
    _, prefill, decode = spans_of(generation)
    assert (prefill.error, decode.error) == ("", "attempt_lost")


def test_a_later_attempt_tells_nothing_of_the_queue() -> None:
    """The accident: the first attempt's time counts as the second one's wait."""
    assert [span.name for span in spans_of(begun(attempt=2))] == ["worker.prefill"]


def test_what_is_not_traced_makes_no_span() -> None:
    assert spans_of(begun(), None) == []
