"""What this gateway counts, under vLLM's metric names so that its dashboards work."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shared.registry import RegisteredWorker
from shared.schemas.generation import GenerationFailed, GenerationFinished, GenerationStarted

#: vLLM's buckets of the time to the first token, in seconds.
FIRST_TOKEN_BUCKETS = (
    .001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_LATENCY_BUCKETS = (.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)  # fmt: skip


class GatewayMetrics:
    """Counters, histograms and gauges of one gateway process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model = ("model_name",)
        self._prompt_tokens = Counter("vllm:prompt_tokens", "Prompt tokens.", model, registry=self.registry)
        self._generation_tokens = Counter("vllm:generation_tokens", "Generated tokens.", model, registry=self.registry)
        self._success = Counter(
            "vllm:request_success", "Finished generations.", (*model, "finished_reason"), registry=self.registry
        )
        self._failures = Counter(
            "ovchat:generation_failures", "Failed generations.", (*model, "code"), registry=self.registry
        )
        self._first_token = Histogram(
            "vllm:time_to_first_token_seconds",
            "From queueing to the first delta.",
            model,
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._latency = Histogram(
            "vllm:e2e_request_latency_seconds",
            "From queueing to the end.",
            model,
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._queue_time = Histogram(
            "vllm:request_queue_time_seconds",
            "Time in the queue.",
            model,
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._running = Gauge("vllm:num_requests_running", "Generations in engines.", model, registry=self.registry)
        self._waiting = Gauge("vllm:num_requests_waiting", "Generations in queues.", model, registry=self.registry)
        self.sockets = Gauge("ovchat:websocket_connections", "Open sockets.", registry=self.registry)
        self._workers = Gauge("ovchat:workers", "Living inference workers.", ("device",), registry=self.registry)

    def generation_ended(self, end: GenerationFinished | GenerationFailed, started: GenerationStarted | None) -> None:
        """Count a generation; one that was cancelled in the queue has no model to count for."""
        model = f"{started.model}:{started.variant}" if started else ""
        if isinstance(end, GenerationFailed):
            self._failures.labels(model, end.error.code).inc()
            return
        self._success.labels(model, end.finish_reason).inc()
        self._prompt_tokens.labels(model).inc(end.usage.prompt_tokens)
        self._generation_tokens.labels(model).inc(end.usage.completion_tokens)
        if end.timings.first_token_ms is not None:
            self._first_token.labels(model).observe(end.timings.first_token_ms / 1000)
        self._latency.labels(model).observe(end.timings.total_ms / 1000)
        self._queue_time.labels(model).observe(end.timings.queue_ms / 1000)

    def render(self, workers: tuple[RegisteredWorker, ...], waiting: dict[str, int]) -> bytes:
        """Return the text exposition, with the gauges as of now."""
        for gauge in (self._running, self._waiting, self._workers):
            gauge.clear()
        for worker in workers:
            self._workers.labels(worker.info.device).inc()
            for replica in worker.info.replicas:
                self._running.labels(replica.key).inc(replica.running)
                self._waiting.labels(replica.key)
        for variant, count in waiting.items():
            self._waiting.labels(variant).set(count)
        return generate_latest(self.registry)
