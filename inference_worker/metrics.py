"""What this worker counts, under vLLM's metric names where it has them; `deploy/docs/metrics.md` lists it.

Here is what only engines and replicas know. Whole generations are the gateways' to count, so that none is twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from inference_worker.host_memory import HostMemory
from inference_worker.loaded_replica import LoadedReplica
from inference_worker.memory import free_memory_bytes
from inference_worker.replica_protocol import StepDone

#: vLLM's buckets of the time between two tokens of one sequence, in seconds.
INTER_TOKEN_BUCKETS = (
    .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
STEP_BUCKETS = (.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .5, 1, 2.5, 5)  # fmt: skip
LOAD_BUCKETS = (.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)  # fmt: skip
_MODEL = ("model_name", "engine")


class WorkerMetrics:
    """Counters, histograms and gauges of one worker; `engine` of every one is its device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._token_histograms: dict[str, Histogram] = {}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._between_tokens = self._histogram(
            "vllm:inter_token_latency_seconds", "Between two tokens of one sequence.", INTER_TOKEN_BUCKETS
        )
        self._steps = self._histogram("ovchat:engine_step_seconds", "Engine steps that made tokens.", STEP_BUCKETS)
        self._loads = self._histogram("ovchat:model_load_seconds", "Loads of a variant.", LOAD_BUCKETS)
        self._preemptions = self._counter("vllm:num_preemptions", "Times a running sequence lost its cache.")
        self._queried = self._counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = self._counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._load_failures = self._counter("ovchat:model_load_failures", "Loads that failed.", "code")
        self._evictions = self._counter("ovchat:evictions", "Replicas that were ended on purpose.", "reason")
        self._deaths = self._counter("ovchat:replica_deaths", "Replica processes that died.")
        self._appends = Counter("ovchat:journal_appends", "Calls that appended entries.", registry=self.registry)
        self._entries = Counter("ovchat:journal_entries", "Entries that were appended.", registry=self.registry)
        self._running = self._gauge("vllm:num_requests_running", "Generations in the engine.")
        self._usage = self._gauge("vllm:kv_cache_usage_perc", "Part of the KV cache in use, 0 to 1.")
        self._held_back = self._gauge("ovchat:engine_waiting", "Generations that the last step did not compute.")
        self._replicas = self._gauge("ovchat:replicas", "Replicas by state.", "state")
        self._resident = self._gauge("ovchat:replica_memory_bytes", "Resident memory of a replica's process.")
        self._reserved = self._gauge("ovchat:replica_reserved_bytes", "Memory of the host reserved for a replica.")
        self._budget = self._gauge_of_host("ovchat:memory_budget_bytes", "Memory that the host's replicas may take.")
        self._free = self._gauge_of_host("ovchat:memory_free_bytes", "Memory that is free now.")

    def stepped(self, replica: LoadedReplica, step: StepDone) -> None:
        """Count an engine's step, and what its figures have grown by since the ones before."""
        labels = (replica.variant, self._device)
        for step_ms in step.steps_ms:
            self._steps.labels(*labels).observe(step_ms / 1000)
        if step.figures is None:
            return
        before, now = replica.figures, step.figures
        replica.figures = now
        # A count that an engine cannot tell stays absent instead of 0.
        if now.preemptions is not None:
            self._preemptions.labels(*labels).inc(max(0, now.preemptions - (before.preemptions or 0)))

    def token_followed(self, variant: str, seconds: float) -> None:
        """Count the time since the token before; called for each token, hence the short cut."""
        histogram = self._token_histograms.get(variant)
        if histogram is None:
            histogram = self._token_histograms[variant] = self._between_tokens.labels(variant, self._device)
        histogram.observe(seconds)

    def prompt_looked_up(self, variant: str, tokens: int, cached_tokens: int) -> None:
        """Count a prompt of which the engine had so many tokens in its prefix cache."""
        self._queried.labels(variant, self._device).inc(tokens)
        self._hits.labels(variant, self._device).inc(cached_tokens)

    def loaded(self, replica: LoadedReplica, seconds: float) -> None:
        """Count a load."""
        self._loads.labels(replica.variant, self._device).observe(seconds)

    def load_failed(self, variant: str, code: str) -> None:
        """Count a load that failed, or was refused for want of memory."""
        self._load_failures.labels(variant, self._device, code).inc()

    def evicted(self, replica: LoadedReplica) -> None:
        """Count a replica that was ended on purpose."""
        self._evictions.labels(replica.variant, self._device, replica.end_reason).inc()

    def died(self, replica: LoadedReplica) -> None:
        """Count a replica whose process ended by itself."""
        self._deaths.labels(replica.variant, self._device).inc()

    def appended(self, entries: int) -> None:
        """Count a call that appended so many entries to journals."""
        self._appends.inc()
        self._entries.inc(entries)

    def render(self, replicas: Iterable[LoadedReplica], memory: HostMemory) -> bytes:
        """Return the text exposition, with the gauges as of now."""
        by_replica = (self._running, self._usage, self._held_back, self._replicas, self._resident, self._reserved)
        for gauge in by_replica:
            gauge.clear()
        for replica in replicas:
            labels = (replica.variant, self._device)
            self._replicas.labels(*labels, replica.state).inc()
            self._reserved.labels(*labels).set(memory.held_bytes(replica.variant))
            if replica.serving is not None:
                self._running.labels(*labels).set(len(replica.computing))
                self._held_back.labels(*labels).set(replica.figures.waiting if replica.computing else 0)
                self._resident.labels(*labels).set(replica.serving.process.resident_bytes())
            if replica.figures.kv_cache_usage is not None:
                self._usage.labels(*labels).set(replica.figures.kv_cache_usage)
        self._budget.labels(self._device).set(memory.budget_bytes)
        self._free.labels(self._device).set(free_memory_bytes() or 0)
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *more_labels: str) -> Counter:
        return Counter(name, text, (*_MODEL, *more_labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, _MODEL, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, *more_labels: str) -> Gauge:
        return Gauge(name, text, (*_MODEL, *more_labels), registry=self.registry)

    def _gauge_of_host(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ("engine",), registry=self.registry)
