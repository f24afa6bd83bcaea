"""A real Prometheus with the product's rules over real services, and Flower beside a converter."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis

from tests.helpers.pool import Pool
from tests.helpers.prometheus import ROOT, Prometheus, require
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import Service, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
METRICS_KEY = "a-key-for-prometheus"
ACCOUNT = ("ovchat", "a-password")
#: What does not happen in these tests, so that Prometheus has no sample of it.
UNSEEN = re.compile(
    r"generation_failures|rejections|migrations|replica_deaths|model_load_failures|evictions|num_preemptions|prefix_cache"
    r"|kv_cache_usage|ALERTS"
)


@pytest.fixture(scope="module")
def watched(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pool, Prometheus]]:
    """A gateway, a worker with the `sample` engine and a converter, and a Prometheus that has read them."""
    require("prometheus")
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("watched")
    pool = Pool(folder, session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url)
    worker_port = free_port()
    environment = {"OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(folder)}
    with ExitStack() as stack:
        # Each starts while the next ones do.
        converter = Service("tests.helpers.sample_converter", environment, folder / "converter.log").start()
        stack.callback(converter.stop)
        stack.callback(pool.stop)
        gateway = pool.gateway({"OVCHAT_METRICS_KEY": METRICS_KEY})
        targets = {"ovchat-gateway": [f"127.0.0.1:{gateway.port}"], "ovchat-worker": [f"127.0.0.1:{worker_port}"]}
        prometheus = Prometheus(folder / "prometheus", targets, METRICS_KEY).start()
        stack.callback(prometheus.stop)
        pool.worker({"OVCHAT_METRICS_PORT": str(worker_port)})
        wait_until(prometheus.is_scraping, what="every target read")
        wait_until(lambda: prometheus.value("max(ovchat:converters)") == 1, what="the converter seen")
        yield pool, prometheus


@pytest.fixture(scope="module")
def prometheus(watched: tuple[Pool, Prometheus]) -> Prometheus:
    return watched[1]


@pytest.fixture(scope="module")
def used(watched: tuple[Pool, Prometheus]) -> Prometheus:
    """Prometheus once it has seen two answers and how they changed the rates."""
    pool, prometheus = watched
    body = {"model": "sample", "messages": [{"role": "user", "content": "What is in the box?"}], "max_tokens": 20}
    # The first answer makes the series, the second one an increase.
    for seen in ("vllm:request_success_total", "rate(vllm:request_success_total[20s]) > 0"):
        with pool.gateways[0].client() as client:
            answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        wait_until(partial(prometheus.query, seen), what=seen)
    return prometheus


def dashboard_queries() -> list[str]:
    panels = json.loads((ROOT / "deploy" / "grafana" / "ovchat.json").read_text("utf-8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [text.replace("$model", ".*").replace("$__rate_interval", "20s") for text in expressions]


def test_every_query_of_the_dashboard_is_answered(used: Prometheus) -> None:
    queries = dashboard_queries()
    expected = [query for query in queries if not UNSEEN.search(query)]
    assert len(expected) > 30
    # A target that was read a moment before an answer ended has its rate only after the next time.
    wait_until(lambda: all(map(used.query, expected)), what="every rate seen")
    for query in queries:
        used.query(query)


def test_every_rule_is_evaluated(used: Prometheus) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in rules(used)), what="every rule evaluated")
    assert len(rules(used)) > 20


def test_redis_queues_and_converters_are_seen_through_the_gateway(used: Prometheus) -> None:
    assert used.value("ovchat:redis_up") == 1
    assert (used.value("ovchat:redis_memory_bytes") or 0) > 1 << 16
    assert used.value("ovchat:waiting_limit") == 1000
    assert 0 < (used.value("ovchat:converter_disk_free_bytes / ovchat:converter_disk_bytes") or 0) < 1
    assert used.value("ovchat:conversion_silent_seconds") == 0


def test_flower_sees_the_converter_behind_a_password_and_may_change_nothing(
    watched: tuple[Pool, Prometheus], tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "OVCHAT_REDIS_URL": watched[0].redis_url,
        "FLOWER_BASIC_AUTH": ":".join(ACCOUNT),
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(port),
    }
    flower = Service("deploy.monitoring.task_monitor", environment, tmp_path / "flower.log").start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=False, timeout=30) as client:

            def answers() -> bool:
                try:
                    return client.get("/healthcheck").is_success
                except httpx.TransportError:
                    return False

            def converters() -> list[str]:
                found: dict[str, object] = client.get("/api/workers", auth=ACCOUNT).json()
                return [name for name in found if "@converter-" in name]

            wait_until(answers, what="Flower answers")
            assert client.get("/api/workers").status_code == 401
            assert client.get("/api/workers", auth=("ovchat", "another")).status_code == 401
            wait_until(converters, what="the converter seen")
            [name] = converters()
            assert client.post(f"/api/worker/shutdown/{name}", auth=ACCOUNT).status_code == 403
    finally:
        flower.stop()


def test_flower_does_not_start_without_a_password(tmp_path: Path) -> None:
    flower = Service("deploy.monitoring.task_monitor", {"FLOWER_BASIC_AUTH": "ovchat:"}, tmp_path / "log").start()
    assert flower.process is not None
    assert flower.process.wait(20) == 1
    assert "first-env" in flower.output


def test_a_killed_worker_is_told_of(watched: tuple[Pool, Prometheus], used: Prometheus) -> None:
    """Last, for it takes the pool's only worker."""
    watched[0].workers[0].kill()

    def firing() -> set[str]:
        return {alert["labels"]["alertname"] for alert in used.get("alerts")["alerts"] if alert["state"] == "firing"}

    wait_until(lambda: "WorkerLost" in firing(), what="WorkerLost fires")
    # The others wait for some minutes before they do.
    wait_until(lambda: {"NoWorker", "TargetDown"} <= pending(used), what="what follows is pending")


def rules(prometheus: Prometheus) -> list[dict[str, object]]:
    return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]


def pending(prometheus: Prometheus) -> set[object]:
    return {rule["name"] for rule in rules(prometheus) if rule["state"] == "pending"}
