import time

from gateway.generations.caller import asks_now, caller
from gateway.generations.tracing import GenerationTraces
from shared.errors import LoadFailed
from shared.schemas.generation import GenerationFailed, GenerationRequest
from shared.tracing.spans import Spans
from tests.helpers.kept_spans import KeptSpans
from tests.helpers.messages import generation_request

REQUEST = generation_request("gen_1", content="secret")


def test_a_failed_generation_names_its_error_and_nobody() -> None:
    spans = KeptSpans()
    traces = GenerationTraces(spans)
    asks_now()
    request = traces.begun(REQUEST)
    traces.admitted(request, 3)
    # It comes from Redis to the gateway that stores its end.
    stored = GenerationRequest.model_validate_json(request.model_dump_json())
    end = GenerationFailed(generation_id="gen_1", error=LoadFailed("No engine.").body())
    traces.stored(stored, end, prompt_tokens=0, generated_tokens=0, attempts=1, since_ns=time.time_ns())
    admit, finalize, root = spans.kept
    assert [span.name for span in spans.kept] == ["gateway.admit", "gateway.finalize", "generation"]
    assert (root.parent_span_id, root.error, root.attributes["error.type"]) == (None, "load_failed", "load_failed")
    assert {admit.parent_span_id, finalize.parent_span_id} == {root.span_id}
    assert {admit.trace_id, finalize.trace_id} == {root.trace_id}
    assert root.start_ns == admit.start_ns == caller().began_ns
    assert admit.attributes["ovchat.queue.position"] == 3
    told = [str(value) for span in spans.kept for value in span.attributes.values()]
    assert "ann" not in told
    assert not any("secret" in text for text in told)


def test_without_a_collector_a_request_stays_as_it_is() -> None:
    assert GenerationTraces(Spans()).begun(REQUEST) is REQUEST
