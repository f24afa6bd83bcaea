"""OpenTelemetry traces of real services: one a generation, whole after a loss, and nothing of it where it is off."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from shared import keys
from tests.helpers.collector import Collector, Span
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import wait_until
from tests.helpers.sockets import Frame, Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
QUESTION = "What is in the secret box?"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
#: Of a generation that nothing happened to, and the service that tells it.
SPANS = {
    "generation": "ovchat-gateway",
    "gateway.admit": "ovchat-gateway",
    "queue": "ovchat-inference",
    "worker.prefill": "ovchat-inference",
    "worker.decode": "ovchat-inference",
    "gateway.finalize": "ovchat-gateway",
}
#: Python tells on standard error what it imports.
TELL_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(
    session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Pool]:
    """A gateway and a worker that send to the collector."""
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("traced"), session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url)
    try:
        pool.gateway({"OVCHAT_OTLP_ENDPOINT": collector.url})
        pool.worker({"OVCHAT_OTLP_ENDPOINT": f"{collector.url}/", "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "50"})
        yield pool
    finally:
        pool.stop()


async def chat(pool: Pool, length: int = 20) -> list[Frame]:
    """Ask one question and return the frames of its answer."""
    async with Socket(pool.gateways[0].socket_url) as socket:
        await socket.chat("sample", QUESTION, params={"max_new_tokens": length, "temperature": 0})
        return await socket.receive_until(*ENDS)


def assert_times_agree(spans: dict[str, Span], frame: Frame) -> None:
    """The phases are those of the frame, to the rounding of both; the whole is from the question to the stored end."""
    timings = frame["timings"]
    rounding = 0.2
    prefill = timings["first_token_ms"] - timings["queue_ms"]
    decode = timings["total_ms"] - timings["first_token_ms"]
    assert spans["queue"].milliseconds == pytest.approx(timings["queue_ms"], abs=rounding)
    assert spans["worker.prefill"].milliseconds == pytest.approx(prefill, abs=rounding)
    # The frame is made a moment before its attempt is dropped, on a busy machine.
    assert decode - rounding <= spans["worker.decode"].milliseconds <= decode + 500
    assert spans["generation"].milliseconds >= timings["total_ms"] - rounding


async def test_a_chat_is_one_trace_whose_spans_agree_with_its_timings(traced: Pool, collector: Collector) -> None:
    await chat(traced)  # The first one waits for the load.
    frames = await chat(traced)
    trace = collector.trace_of(frames[-1]["generation_id"])
    spans = {span.name: span for span in trace}
    assert {span.name: span.service for span in trace} == SPANS
    assert len(trace) == len(SPANS)
    root = spans.pop("generation")
    assert root.parent_id is None
    assert {span.parent_id for span in spans.values()} == {root.span_id}
    assert {span.trace_id for span in trace} == {root.trace_id}
    assert sum(span.trace_id == root.trace_id for span in collector.spans) == len(SPANS)
    assert root.kind == 2  # a server's
    usage = frames[-1]["usage"]
    assert root.attributes["gen_ai.request.model"] == "sample"
    assert root.attributes["ovchat.variant"] == "int4"
    assert root.attributes["ovchat.finish_reason"] == frames[-1]["finish_reason"]
    assert root.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert root.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert spans["worker.decode"].attributes["ovchat.device"] == "CPU"
    assert spans["worker.prefill"].end_ns == spans["worker.decode"].start_ns
    assert_times_agree({"generation": root, **spans}, frames[-1])
    assert collector.paths == {("/v1/traces", "application/json")}


async def test_no_span_tells_who_asked_what(traced: Pool, collector: Collector) -> None:
    frames = await chat(traced)
    trace = collector.trace_of(frames[-1]["generation_id"])
    told = " ".join(str(value) for span in trace for value in span.attributes.values())
    assert all(word not in told for word in ("secret", "admin", "test-admin-key"))


async def test_a_killed_replica_gives_the_trace_another_attempt(traced: Pool, collector: Collector) -> None:
    async with Socket(traced.gateways[0].socket_url) as socket:
        await socket.chat("sample", QUESTION, params={"max_new_tokens": 60, "temperature": 0})
        for _ in range(5):
            await socket.receive_until("generation.delta")
        worker = psutil.Process(traced.workers[0].pid)
        (replica,) = [child for child in worker.children() if "inference_worker.replica" in child.cmdline()]
        os.kill(replica.pid, signal.SIGKILL)
        (*_, end) = await socket.receive_until(*ENDS)
    assert end["type"] == "generation.finished"
    trace = collector.trace_of(end["generation_id"])
    assert sorted(span.name for span in trace) == sorted([*SPANS, "worker.prefill", "worker.decode"])
    decodes = [span for span in trace if span.name == "worker.decode"]
    assert [(span.attributes["ovchat.attempt"], span.error) for span in decodes] == [(1, "attempt_lost"), (2, "")]
    # Both clocks are this machine's, and a lost attempt ends before the next one is taken.
    assert decodes[0].end_ns <= decodes[1].start_ns


@pytest.mark.parametrize("flags", ["01", "00"])
def test_a_completion_joins_its_callers_trace_if_that_is_recorded(
    traced: Pool, collector: Collector, flags: str
) -> None:
    body = {"model": "sample", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 5}
    trace_id = TRACE[:-2] + flags
    with traced.gateways[0].client() as client:
        headers = {"traceparent": f"00-{trace_id}-{CALLER}-{flags}"}
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        after = client.post("/v1/chat/completions", json=body)
    # Whoever comes after is not of the same trace.
    (other,) = (s for s in collector.trace_of(name_of(after)) if s.name == "generation")
    assert other.parent_id is None
    if flags == "01":
        (root,) = (s for s in collector.trace_of(name_of(answer)) if s.name == "generation")
        assert (root.trace_id, root.parent_id) == (trace_id, CALLER)
    else:
        assert trace_id not in {span.trace_id for span in collector.spans}


def name_of(answer: httpx.Response) -> str:
    name: str = answer.json()["id"]
    return name.replace("chatcmpl-", "gen_")


async def test_a_socket_joins_the_trace_that_its_handshake_names(traced: Pool, collector: Collector) -> None:
    trace_id = TRACE[:-2] + "aa"
    socket = Socket(traced.gateways[0].socket_url)
    socket.headers["traceparent"] = f"00-{trace_id}-{CALLER}-01"
    async with socket:
        began_ns = time.time_ns()
        for _ in range(2):
            await socket.chat("sample", QUESTION, params={"max_new_tokens": 5})
            await socket.receive_until(*ENDS)
    ends = [frame for frame in socket.frames if frame["type"] in ENDS]
    roots = [next(s for s in collector.trace_of(e["generation_id"]) if s.name == "generation") for e in ends]
    assert {(root.trace_id, root.parent_id) for root in roots} == {(trace_id, CALLER)}
    # Each begins when it was asked, not with the handshake.
    assert began_ns <= roots[0].start_ns < roots[0].end_ns <= roots[1].end_ns
    assert roots[0].start_ns < roots[1].start_ns


async def test_without_a_collector_nothing_of_it_is_imported(own_redis: RedisServer, tmp_path: Path) -> None:
    """The accident: a library that few want costs every process its imports and a thread."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    try:
        pool.gateway(TELL_IMPORTS)
        pool.worker(TELL_IMPORTS)
        frames = await chat(pool)
        with redis.Redis.from_url(own_redis.url) as client:
            request = client.get(keys.generation_request(frames[-1]["generation_id"]))
    finally:
        pool.stop()
    assert request is not None
    assert b'"trace":null' in request
    for service in (*pool.gateways, *pool.workers):
        assert "shared.tracing.spans" in service.output
        # The Redis client takes a look at OpenTelemetry's metrics wherever they are installed.
        assert "opentelemetry.sdk.trace" not in service.output
        assert "shared.tracing.batched_spans" not in service.output


async def test_a_collector_that_is_away_costs_a_line_of_the_log(own_redis: RedisServer, tmp_path: Path) -> None:
    """The accident: the collector is restarted, and chats wait for it or the log fills."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    environment = {"OVCHAT_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    try:
        services = [pool.gateway(environment), pool.worker(environment)]
        for _ in range(3):
            frames = await chat(pool, 5)
            assert frames[-1]["type"] == "generation.finished"
        for service in services:
            wait_until(lambda service=service: "traces_not_sent" in service.output, what="noticed")  # type: ignore[misc]
        await chat(pool, 5)
    finally:
        pool.stop()
    assert [service.output.count("traces_not_sent") for service in services] == [1, 1]
    assert all("Traceback" not in service.output for service in services)


async def test_a_collector_that_hangs_holds_up_neither_chats_nor_the_end(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """The accident: a collector takes connections and says nothing, and with it no service ends any more."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    with Collector() as hanging:
        hanging.answers.clear()
        environment = {"OVCHAT_OTLP_ENDPOINT": hanging.url}
        try:
            pool.gateway(environment)
            pool.worker(environment)
            frames = await chat(pool, 5)
            assert frames[-1]["type"] == "generation.finished"
        finally:
            began = time.monotonic()
            pool.stop()
    # 3 s of the batch that is under way and 2 s for the rest, each of the two services.
    assert time.monotonic() - began < 2 * 5 + 10
