"""Gauges of what all gateways see alike: the pool, the converters and Redis; `deploy/docs/metrics.md` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.health.pool_view import PoolView
from gateway.health.redis_facts import RedisFacts


@dataclass(frozen=True, slots=True)
class PoolMetrics(Collector):
    """One look's gauges. What was not seen is absent, so that nothing old is taken for true.

    Attributes:
        pool: None where Redis was away.
        redis: facts by the database's name, None of one that did not answer.
        most_waiting: generations that may wait for one variant.
    """

    pool: PoolView | None
    redis: Mapping[str, RedisFacts | None]
    most_waiting: int

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        yield _gauge("ovchat:waiting_limit", "Generations that may wait for one variant.", self.most_waiting)
        if self.pool is not None:
            yield from _of_pool(self.pool)
        yield from _of_redis(self.redis)


def _of_pool(pool: PoolView) -> Iterable[Metric]:
    yield _gauges("vllm:num_requests_waiting", "Generations in queues.", "model_name", pool.waiting)
    yield _gauges("ovchat:longest_wait_seconds", "How long the oldest waits.", "model_name", pool.waited_seconds)
    yield _gauges("ovchat:workers", "Living inference workers.", "device", pool.workers)
    yield _gauge("ovchat:unstored_generations", "Ended ones that no gateway has stored.", pool.unstored)
    yield _gauges("ovchat:conversions", "Conversion jobs that are kept.", "state", pool.conversions.states)
    silence = "How long the most silent running job has told nothing."
    yield _gauge("ovchat:conversion_silent_seconds", silence, pool.conversions.silent_seconds)
    yield _gauge("ovchat:converters", "Living converter workers.", len(pool.converters))
    sizes = {info.host: info.disk_bytes for info in pool.converters if info.disk_bytes}
    yield _gauges("ovchat:converter_disk_bytes", "Disk that a converter publishes on.", "host", sizes)
    free = {info.host: info.disk_free_bytes for info in pool.converters}
    yield _gauges("ovchat:converter_disk_free_bytes", "What is free of it.", "host", free)


def _of_redis(found: Mapping[str, RedisFacts | None]) -> Iterable[Metric]:
    up = {database: facts is not None for database, facts in found.items()}
    yield _gauges("ovchat:redis_up", "Whether this gateway reaches it.", "database", up)
    seen = {database: facts for database, facts in found.items() if facts is not None}
    memory = {database: facts.memory_bytes for database, facts in seen.items()}
    yield _gauges("ovchat:redis_memory_bytes", "Memory in use.", "database", memory)
    limits = {database: facts.limit_bytes for database, facts in seen.items()}
    yield _gauges("ovchat:redis_memory_limit_bytes", "Memory that it may use, 0 without limit.", "database", limits)
    clients = {database: facts.clients for database, facts in seen.items()}
    yield _gauges("ovchat:redis_clients", "Connections.", "database", clients)
    failing = {database: facts.is_disk_failing for database, facts in seen.items()}
    yield _gauges("ovchat:redis_disk_failing", "Whether its last write to disk failed.", "database", failing)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
