"""One scripted load moves every listed metric by the expected amount, and the dashboard shows no other ones."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from shared import keys
from shared.schemas.converters import ConverterInfo
from tests.helpers.accounts import make_key
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.scrape import Scrape, scrape
from tests.helpers.services import ADMIN_KEY, wait_until
from tests.helpers.sockets import Frame, Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ROOT = Path(__file__).parents[2]
ENDS = ("generation.finished", "generation.failed", "error")
#: Each one sequence loses its cache once, after eight tokens; more than 120 tokens do not fit at all.
METERED, PLAIN, BROKEN = "metered:int4", "plain:int4", "broken:int4"
PREEMPTED_AFTER, CACHE_TOKENS, PREFIX_BLOCK = 8, 120, 4
SILENT_SECONDS = 100
CONVERTER = ConverterInfo(
    worker_id="w-1", host="builder", slots=1, memory_bytes=8, free_bytes=4, disk_free_bytes=30, disk_bytes=100
)


@dataclass
class Ended:
    """A generation as its client saw it."""

    generation_id: str
    variant: str
    prompt_tokens: int
    tokens: int
    end: Frame
    attempts: int = 1
    cached_tokens: int = 0
    replayed_tokens: int = 0
    """Of its answer, those that its last attempt was given."""

    @property
    def finish_reason(self) -> str | None:
        reason: str | None = self.end.get("finish_reason")
        return reason


@dataclass
class Story:
    """What the scripted load did, and the metrics before, in the middle and after it."""

    gateway: tuple[Scrape, Scrape, Scrape] = field(default_factory=lambda: (Scrape(), Scrape(), Scrape()))
    worker: tuple[Scrape, Scrape, Scrape] = field(default_factory=lambda: (Scrape(), Scrape(), Scrape()))
    ended: list[Ended] = field(default_factory=list)
    journal_entries: int = 0

    def count(self, name: str, **labels: str) -> float:
        """Return by how much a gateway's or a worker's samples grew."""
        return sum(after.get(name, **labels) - before.get(name, **labels) for before, _, after in self._sides)

    @property
    def _sides(self) -> tuple[tuple[Scrape, Scrape, Scrape], ...]:
        return self.gateway, self.worker


class Script:
    """The load, step by step, on one gateway and one worker that computes one generation at a time."""

    def __init__(self, pool: Pool, metrics_url: str) -> None:
        self.pool = pool
        self.gateway = pool.gateways[0]
        self.metrics_url = metrics_url
        self.story = Story()

    def read(self) -> tuple[Scrape, Scrape]:
        return scrape(self.gateway.url, ADMIN_KEY), scrape(self.metrics_url)

    async def run(self) -> Story:
        before = self.read()
        async with Socket(self.gateway.socket_url) as socket:
            await self.ask(socket, BROKEN, 4)
            for _ in range(3):
                await self.ask(socket, METERED, 10)
            await self.ask(socket, METERED, 400)
            middle = await self.overload(socket)
            await self.lose_the_engine(socket)
        self.refuse_the_user()
        self.convert()
        self.settle()
        after = self.read()
        self.story.gateway = (before[0], middle[0], after[0])
        self.story.worker = (before[1], middle[1], after[1])
        with redis.Redis.from_url(self.pool.redis_url) as database:
            by_worker = [ended.generation_id for ended in self.story.ended if ended.variant != BROKEN]
            self.story.journal_entries = sum(database.xlen(keys.journal(name)) for name in by_worker)
            for ended in self.story.ended:
                entries = [fields for _, fields in database.xrange(keys.journal(ended.generation_id))]
                ended.replayed_tokens = sum(
                    len(json.loads(fields[b"t"])) for fields in entries if int(fields[b"a"]) < ended.attempts
                )
        return self.story

    async def ask(self, socket: Socket, variant: str, length: int) -> None:
        await self.begin(socket, variant, length)
        await self.end(socket, variant)

    async def begin(self, socket: Socket, variant: str, length: int, *, deltas: int = 0) -> str:
        """Send a question and wait for some deltas; return the generation's id."""
        await socket.chat(variant, "What is in the box?", params={"max_new_tokens": length, "temperature": 0})
        generation_id = str((await socket.receive_until("generation.queued"))[0]["generation_id"])
        for _ in range(deltas):
            await socket.receive_until("generation.delta")
        return generation_id

    async def end(self, socket: Socket, variant: str, *, attempts: int = 1) -> None:
        """Wait for the next end and note it."""
        end = (await socket.receive_until(*ENDS))[-1]
        name = end["generation_id"]
        started = [f for f in socket.frames if f["type"] == "generation.started" and f["generation_id"] == name]
        prompt_tokens = started[0]["prompt_tokens"] if started else 0
        if end["type"] == "generation.finished":
            tokens = end["usage"]["completion_tokens"]
        else:
            # The engine gives up at the first token that does not fit.
            tokens = CACHE_TOKENS + 1 - prompt_tokens if variant == METERED else 0
        cached_tokens = end.get("usage", {}).get("cached_tokens") or 0
        self.story.ended.append(Ended(name, variant, prompt_tokens, tokens, end, attempts, cached_tokens))

    async def overload(self, socket: Socket) -> tuple[Scrape, Scrape]:
        """One runs, one waits, a third is refused; the first is cancelled, so that the second runs."""
        running = await self.begin(socket, PLAIN, 400, deltas=12)
        await self.begin(socket, PLAIN, 10)
        await socket.chat(PLAIN, "No room")
        refused = (await socket.receive_until("error"))[-1]
        assert refused["error"]["code"] == "overloaded"
        await self.wait_for_figures()
        middle = self.read()
        await socket.send({"type": "generation.cancel", "generation_id": running})
        await self.end(socket, PLAIN)
        await self.end(socket, PLAIN)
        return middle

    async def wait_for_figures(self) -> None:
        """An engine at work tells its figures each second."""
        async with asyncio.timeout(20):
            while not scrape(self.metrics_url).get("vllm:kv_cache_usage_perc", model_name=PLAIN):  # noqa: ASYNC110 - it polls another process.
                await asyncio.sleep(0.05)

    async def lose_the_engine(self, socket: Socket) -> None:
        """The engine's process is killed in the middle of an answer, which goes on in the next one."""
        await self.begin(socket, PLAIN, 60, deltas=12)
        worker = psutil.Process(self.pool.workers[0].pid)
        (replica,) = [child for child in worker.children() if "inference_worker.replica" in child.cmdline()]
        os.kill(replica.pid, signal.SIGKILL)
        await self.end(socket, PLAIN, attempts=2)
        # The same question was asked of the first engine before, and the second one knew nothing yet.
        before, killed = self.story.ended[-2:]
        assert killed.cached_tokens == 0
        killed.cached_tokens = before.cached_tokens

    def refuse_the_user(self) -> None:
        """A user who may begin one generation in a minute asks twice."""
        key = make_key(self.gateway, "ann", limits={"requests_per_minute": 1})["key"]
        body = {"model": PLAIN, "messages": [{"role": "user", "content": "Twice"}], "max_tokens": 5}
        with self.gateway.client(key=key) as client:
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            assert client.post("/v1/chat/completions", json=body).status_code == 429
        usage = answer.json()["usage"]
        name = answer.json()["id"].replace("chatcmpl-", "gen_")
        end = {"type": "generation.finished", "finish_reason": answer.json()["choices"][0]["finish_reason"]}
        ended = Ended(name, PLAIN, usage["prompt_tokens"], usage["completion_tokens"], end)
        ended.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
        self.story.ended.append(ended)

    def convert(self) -> None:
        """One job waits, one is cancelled, and one runs in silence on a converter that is written down by hand."""
        with self.gateway.client() as client:
            sources = ("org/first", "org/second", "org/third")
            bodies = [{"source_model": source, "variants": ["int8"]} for source in sources]
            jobs = [client.post("/api/v1/conversions", json=body).json()["conversion_id"] for body in bodies]
            client.delete(f"/api/v1/conversions/{jobs[1]}")
        with redis.Redis.from_url(self.pool.redis_url) as database:
            seconds, _ = database.time()
            heard_ms = (seconds - SILENT_SECONDS) * 1000
            database.hset(keys.conversion_job(jobs[2]), mapping={"state": '"running"', "updated_ms": str(heard_ms)})
            # It says so in the future, so that it lives as long as the story lasts.
            database.hset(
                keys.CONVERTERS, "w-1", CONVERTER.model_copy(update={"seen_ms": heard_ms * 2}).model_dump_json()
            )

    def settle(self) -> None:
        """Return once everything that ended is counted and the engine is at rest."""
        with redis.Redis.from_url(self.pool.redis_url) as database:
            wait_until(lambda: database.xlen(keys.FINISHED) == 0, what="everything counted")
        wait_until(
            lambda: not scrape(self.metrics_url).get("vllm:kv_cache_usage_perc"), what="the engine's figures at rest"
        )


@pytest.fixture(scope="module")
def story(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("metrics"), session_redis.url)
    options: dict[str, dict[str, Any]] = {
        METERED: {"preempt_after_tokens": PREEMPTED_AFTER, "kv_cache_tokens": CACHE_TOKENS},
        PLAIN: {"prefix_block_tokens": PREFIX_BLOCK},
        BROKEN: {"fail_start": True},
    }
    for variant, own in options.items():
        publish_sample_variant(pool.store_path, session_redis.url, model=variant.partition(":")[0], **own)
    port = free_port()
    try:
        pool.gateway({"OVCHAT_MAX_WAITING": "1"})
        pool.worker({"OVCHAT_MAX_SEQUENCES": "1", "OVCHAT_MAX_REPLICAS": "1", "OVCHAT_METRICS_PORT": str(port)})
        yield asyncio.run(Script(pool, f"http://127.0.0.1:{port}").run())
    finally:
        pool.stop()


def expected(story: Story) -> dict[str, float]:
    """Return by how much each counter, and each histogram's count, grew."""
    served = [ended for ended in story.ended if ended.variant != BROKEN]
    finished = [ended for ended in served if ended.finish_reason]
    straight = [ended for ended in finished if ended.attempts == 1]
    metered = [ended for ended in served if ended.variant == METERED]
    plain = [ended for ended in served if ended.variant == PLAIN]
    return {
        "vllm:prompt_tokens_total": sum(ended.prompt_tokens for ended in served),
        "vllm:generation_tokens_total": sum(ended.tokens for ended in served),
        "vllm:request_success_total": len(finished),
        "vllm:time_to_first_token_seconds": len(straight),
        "vllm:e2e_request_latency_seconds": len(finished),
        "vllm:request_queue_time_seconds": len(straight),
        "vllm:request_prefill_time_seconds": len(straight),
        "vllm:request_decode_time_seconds": len(straight),
        "vllm:request_prompt_tokens": len(served),
        "vllm:request_generation_tokens": len(served),
        "ovchat:generation_failures_total": 2,
        "ovchat:migrations_total": 1,
        "ovchat:rejections_total": 2,
        "vllm:inter_token_latency_seconds": sum(ended.tokens - ended.attempts for ended in served),
        "vllm:num_preemptions_total": len([ended for ended in metered if ended.tokens > PREEMPTED_AFTER]),
        "vllm:prefix_cache_queries_total": sum(
            ended.prompt_tokens * ended.attempts + ended.replayed_tokens for ended in plain
        ),
        "vllm:prefix_cache_hits_total": sum(ended.cached_tokens for ended in plain),
        "ovchat:model_load_seconds": 3,
        "ovchat:model_load_failures_total": 1,
        "ovchat:evictions_total": 1,
        "ovchat:replica_deaths_total": 1,
        "ovchat:journal_entries_total": story.journal_entries,
    }


def listed() -> dict[str, tuple[str, frozenset[str], str]]:
    """Return type, labels and place of each metric in the document's table."""
    text = (ROOT / "deploy" / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` \| (\w+) \|(.*?)\| (\w+) \| .* \|$", text, re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), where) for name, kind, labels, where in rows}


def test_every_counter_and_histogram_moved_by_what_was_done(story: Story) -> None:
    grown = {}
    for name in expected(story):
        is_histogram = listed()[name][0] == "histogram"
        grown[name] = story.count(f"{name}_count" if is_histogram else name)
    assert grown == expected(story)


def test_what_was_done_is_told_apart_by_labels(story: Story) -> None:
    assert [ended.finish_reason for ended in story.ended] == [
        None, "length", "length", "length", None, "cancelled", "length", "length", "length",
    ]  # fmt: skip
    success = "vllm:request_success_total"
    assert story.count(success, finished_reason="length", model_name=METERED, engine="CPU") == 3
    assert story.count(success, finished_reason="length", model_name=PLAIN, engine="CPU") == 3
    assert story.count(success, finished_reason="cancelled", model_name=PLAIN, engine="CPU") == 1
    failures = "ovchat:generation_failures_total"
    assert story.count(failures, code="kv_cache_exhausted", model_name=METERED, engine="CPU") == 1
    assert story.count(failures, code="load_failed", model_name=BROKEN, engine="") == 1
    rejections = "ovchat:rejections_total"
    assert story.count(rejections, status="429", code="rate_limit_exceeded", model_name=PLAIN) == 1
    assert story.count(rejections, status="503", code="overloaded", model_name=PLAIN) == 1
    moves = "ovchat:migrations_total"
    assert story.count(moves, cause="replica_lost", migration_type="ongoing_request", model_name=PLAIN) == 1
    assert story.count("ovchat:model_load_seconds_count", model_name=METERED) == 1
    assert story.count("ovchat:model_load_seconds_count", model_name=PLAIN) == 2
    assert story.count("ovchat:model_load_failures_total", model_name=BROKEN, code="load_failed") == 1
    assert story.count("ovchat:evictions_total", model_name=METERED, reason="room") == 1


def test_the_prefix_cache_saved_something(story: Story) -> None:
    assert story.count("vllm:prefix_cache_hits_total", model_name=PLAIN, engine="CPU") > 2 * PREFIX_BLOCK


def test_sums_and_steps_fit_the_counts(story: Story) -> None:
    served = [ended for ended in story.ended if ended.variant != BROKEN]
    tokens = sum(ended.tokens for ended in served)
    assert story.count("vllm:request_generation_tokens_sum") == tokens
    assert story.count("vllm:request_prompt_tokens_sum") == sum(ended.prompt_tokens for ended in served)
    # One step a token, one for the failure; what was cancelled or killed may have made some that nobody took.
    assert tokens + 1 <= story.count("ovchat:engine_step_seconds_count") <= tokens + 10
    assert 0 < story.count("ovchat:journal_appends_total") <= story.journal_entries
    phases = [f"vllm:request_{phase}_time_seconds_sum" for phase in ("queue", "prefill", "decode")]
    assert 0 < sum(map(story.count, phases)) <= story.count("vllm:e2e_request_latency_seconds_sum") + 0.01


def test_gauges_tell_of_the_moment(story: Story) -> None:
    _, gateway, gateway_after = story.gateway
    before, worker, worker_after = story.worker
    assert gateway.get("vllm:num_requests_waiting", model_name=PLAIN) == 1
    assert worker.get("vllm:num_requests_running", model_name=PLAIN, engine="CPU") == 1
    assert worker.get("ovchat:engine_waiting", model_name=PLAIN) == 0
    assert 0 < worker.get("vllm:kv_cache_usage_perc", model_name=PLAIN) <= 1
    assert worker.get("ovchat:replicas", model_name=PLAIN, state="ready") == 1
    assert worker.get("ovchat:replica_memory_bytes", model_name=PLAIN) > 1 << 20
    assert worker.get("ovchat:replica_reserved_bytes", model_name=PLAIN) > 0
    assert worker.get("ovchat:memory_budget_bytes", engine="CPU") > 1 << 20
    assert worker.get("ovchat:memory_free_bytes", engine="CPU") > 1 << 20
    assert gateway.get("ovchat:websocket_connections") == 1
    assert gateway.get("ovchat:workers", device="CPU") == 1
    assert before.get("ovchat:replicas") == 0
    assert worker_after.get("vllm:num_requests_running") == 0
    assert gateway_after.get("vllm:num_requests_waiting") == 0
    assert gateway_after.get("ovchat:websocket_connections") == 0
    assert gateway_after.get("ovchat:conversions", state="queued") == 1
    assert gateway_after.get("ovchat:conversions", state="cancelled") == 1
    assert gateway_after.get("ovchat:conversions", state="running") == 1


def test_gauges_tell_what_is_near_its_limit(story: Story) -> None:
    before, middle, after = story.gateway
    assert middle.get("ovchat:waiting_limit") == 1
    assert 0 < middle.get("ovchat:longest_wait_seconds", model_name=PLAIN) < 60
    assert after.get("ovchat:longest_wait_seconds") == 0
    assert after.get("ovchat:unstored_generations") == 0
    assert after.get("ovchat:workers_lost_total") == 0
    assert SILENT_SECONDS <= after.get("ovchat:conversion_silent_seconds") < SILENT_SECONDS + 60
    assert (before.get("ovchat:converters"), after.get("ovchat:converters")) == (0, 1)
    assert after.get("ovchat:converter_disk_bytes", host="builder") == 100
    assert after.get("ovchat:converter_disk_free_bytes", host="builder") == 30
    assert middle.get("ovchat:redis_up", database="state") == 1
    assert middle.get("ovchat:redis_memory_bytes", database="state") > 1 << 16
    assert middle.get("ovchat:redis_memory_limit_bytes", database="state") == 0
    assert middle.get("ovchat:redis_clients", database="state") > 1
    assert middle.get("ovchat:redis_disk_failing", database="state") == 0


def test_the_document_lists_what_is_exposed_and_where(story: Story) -> None:
    """The accident: gateways and workers tell the same name, and every sum over all of them counts twice."""
    seen: dict[str, tuple[str, frozenset[str], str]] = {}
    for where, (_, middle, after) in (("gateway", story.gateway), ("worker", story.worker)):
        for name, kind in after.types.items():
            if not name.startswith("process_"):
                assert name not in seen
                seen[name] = (kind, frozenset(after.label_names(name) | middle.label_names(name)), where)
    assert listed() == seen


def test_the_dashboard_shows_what_exists(story: Story) -> None:
    text = (ROOT / "deploy" / "grafana" / "ovchat.json").read_text("utf-8")
    panels = [panel for panel in json.loads(text)["panels"] if "targets" in panel]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for expr in expressions for name in re.findall(r"\b(?:(?:vllm|ovchat):|process_)\w+", expr)}
    exposed = {name for _, middle, after in (story.gateway, story.worker) for name in (*middle.names(), *after.names())}
    assert names - exposed == set()
    assert all(re.search(r"(?:vllm|ovchat):|process_|ALERTS", expr) for expr in expressions)
    rules = (ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text("utf-8")
    asked = set(re.findall(r"\b(?:vllm|ovchat):\w+", rules))
    assert len(asked) > 20
    assert asked - exposed == set()
