"""What this gateway counts, under vLLM's metric names so that its dashboards work; `deploy/docs/metrics.md` lists it.

A generation is counted once, at its end, by the gateway that stores it. What only an engine knows is the workers' to
tell, under names that stand on one side alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway.exception_handlers import STATUS_BY_CODE
from gateway.health.pool_metrics import PoolMetrics
from shared.errors import PlatformError
from shared.schemas.generation import GenerationFailed, GenerationFinished, GenerationStarted, Timings
from shared.waiting_queue import Move

#: vLLM's buckets of the time to the first token, in seconds.
FIRST_TOKEN_BUCKETS = (
    .001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
#: vLLM's buckets of whole requests and their phases, in seconds.
LATENCY_BUCKETS = (
    .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
#: vLLM's 1-2-5 buckets of lengths in tokens, for the longest context that is served.
LENGTH_BUCKETS = tuple(float(mantissa * 10**exponent) for exponent in range(6) for mantissa in (1, 2, 5))
_MODEL = ("model_name", "engine")


class GatewayMetrics:
    """Counters, histograms and gauges of one gateway process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens of ended generations.")
        self._generation_tokens = self._counter("vllm:generation_tokens", "Generated tokens of ended generations.")
        self._success = self._counter("vllm:request_success", "Finished generations.", *_MODEL, "finished_reason")
        self._failures = self._counter("ovchat:generation_failures", "Failed generations.", *_MODEL, "code")
        self._moves = self._counter(
            "ovchat:migrations", "Times a generation moved on.", "model_name", "cause", "migration_type"
        )
        self._rejections = self._counter(
            "ovchat:rejections", "Requests refused at the door.", "model_name", "status", "code"
        )
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "From queueing to the first delta.", FIRST_TOKEN_BUCKETS
        )
        self._latency = self._histogram("vllm:e2e_request_latency_seconds", "From queueing to the end.")
        self._queue_time = self._histogram("vllm:request_queue_time_seconds", "Time in the queue.")
        self._prefill = self._histogram(
            "vllm:request_prefill_time_seconds", "From leaving the queue to the first delta."
        )
        self._decode = self._histogram("vllm:request_decode_time_seconds", "From the first delta to the end.")
        self._prompt_length = self._histogram(
            "vllm:request_prompt_tokens", "Prompt tokens of one generation.", LENGTH_BUCKETS
        )
        self._answer_length = self._histogram(
            "vllm:request_generation_tokens", "Generated tokens of one generation.", LENGTH_BUCKETS
        )
        self._workers_lost = Counter("ovchat:workers_lost", "Workers that fell silent.", registry=self.registry)
        self.sockets = Gauge("ovchat:websocket_connections", "Open sockets.", registry=self.registry)

    def generation_ended(
        self,
        model_name: str,
        end: GenerationFinished | GenerationFailed,
        started: GenerationStarted | None,
        *,
        generated_tokens: int,
        moves: Mapping[Move, int],
    ) -> None:
        """Count a generation of ``model:variant``; the engine of one that no worker took is empty."""
        labels = (model_name, started.device if started else "")
        for move, count in moves.items():
            self._moves.labels(model_name, move.cause, move.type).inc(count)
        if started is not None:
            self._prompt_tokens.labels(*labels).inc(started.prompt_tokens)
            self._prompt_length.labels(*labels).observe(started.prompt_tokens)
            self._generation_tokens.labels(*labels).inc(generated_tokens)
            self._answer_length.labels(*labels).observe(generated_tokens)
        if isinstance(end, GenerationFailed):
            self._failures.labels(*labels, end.error.code).inc()
            return
        self._success.labels(*labels, end.finish_reason).inc()
        self._latency.labels(*labels).observe(end.timings.total_ms / 1000)
        # The last worker's clock knows nothing of the phases that ran on the one before.
        if not any(move.type == "ongoing_request" for move in moves):
            self._observe_phases(labels, end.timings)

    def _observe_phases(self, labels: tuple[str, str], timings: Timings) -> None:
        self._queue_time.labels(*labels).observe(timings.queue_ms / 1000)
        if timings.first_token_ms is not None:
            self._first_token.labels(*labels).observe(timings.first_token_ms / 1000)
            self._prefill.labels(*labels).observe((timings.first_token_ms - timings.queue_ms) / 1000)
            self._decode.labels(*labels).observe((timings.total_ms - timings.first_token_ms) / 1000)

    def rejected(self, model_name: str, error: PlatformError) -> None:
        """Count a request that was refused before it was queued."""
        self._rejections.labels(model_name, str(STATUS_BY_CODE[error.code]), error.code).inc()

    def worker_lost(self) -> None:
        """Count a worker that this gateway took out of the registry because it was silent."""
        self._workers_lost.inc()

    def render(self, pool: PoolMetrics) -> bytes:
        """Return the text exposition, with the gauges as of now."""
        return generate_latest(self.registry) + generate_latest(pool)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels or _MODEL, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = LATENCY_BUCKETS) -> Histogram:
        return Histogram(name, text, _MODEL, buckets=buckets, registry=self.registry)
