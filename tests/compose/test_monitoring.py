"""The profile `monitoring`: what Prometheus finds and sees, what Flower shows, who reaches them. Grafana is not run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs

from tests.compose.compose_project import COMPOSE_FILE, ROOT, ComposeProject, stand_in
from tests.compose.platform_client import MODEL, PlatformClient

SERVICES = ("prometheus", "flower")


class Prometheus:
    """Asked inside of its container, for it is published nowhere."""

    def __init__(self, project: ComposeProject) -> None:
        self._project = project

    def query(self, expression: str) -> dict[str, float]:
        """Return an expression's values of now, each by its labels' values."""
        command = ("promtool", "query", "-o", "json", "instant", "http://127.0.0.1:9090", expression)
        found = json.loads(self._project.execute("prometheus", *command).stdout)
        return {" ".join(sample["metric"].values()): float(sample["value"][1]) for sample in found}

    def wait_for(self, expression: str, expected: dict[str, float] | None = None) -> None:
        """Wait until an expression has a value, or these."""
        deadline = time.monotonic() + 90
        while not (found := self.query(expression)) or (expected is not None and found != expected):
            assert time.monotonic() < deadline, f"{expression} is {found}: {self.query('up')}"
            time.sleep(1)


@pytest.fixture(scope="module")
def monitored(project: ComposeProject) -> Iterator[ComposeProject]:
    services = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))["services"]
    wanted = services["prometheus"]["build"]["args"]["PROMETHEUS_IMAGE"]
    stand_in(wanted.partition(":-")[2].rstrip("}"), "prometheus")
    project.timed("build of prometheus and flower", "build", *SERVICES)
    began = time.monotonic()
    project.bring_up(prometheus=1, flower=1)
    project.durations["prometheus and flower until healthy"] = time.monotonic() - began
    yield project
    for service in SERVICES:
        del project.scales[service]
    project.run("rm", "--stop", "--force", *SERVICES)


@pytest.fixture
def prometheus(monitored: ComposeProject, scaled: ComposeProject) -> Prometheus:
    """Prometheus beside two gateways and three workers."""
    return Prometheus(monitored)


async def test_prometheus_finds_every_replica_and_sees_a_chat(prometheus: Prometheus, client: PlatformClient) -> None:
    prometheus.wait_for("count by (job) (up == 1)", {"ovchat-gateway": 2.0, "ovchat-worker": 3.0, "prometheus": 1.0})
    # The first answer makes the series, the second one a rate.
    for number, seen in enumerate(
        ("sum(vllm:generation_tokens_total)", "sum(rate(vllm:generation_tokens_total[2m])) > 0")
    ):
        await client.chat(MODEL, "What is the capital of France?", request_id=f"monitored-{number}")
        prometheus.wait_for(seen)
    assert prometheus.query("max(ovchat:converters)") == {"": 1.0}
    assert prometheus.query("min(ovchat:redis_up)") == {"": 1.0}


def test_every_alert_is_loaded_and_evaluated(prometheus: Prometheus) -> None:
    text = (ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text("utf-8")
    count = sum(len(group["rules"]) for group in yaml.safe_load(text)["groups"])
    prometheus.wait_for("sum(prometheus_rule_group_rules)", {"": float(count)})
    assert prometheus.query("sum(prometheus_rule_evaluation_failures_total)") == {"": 0.0}


def test_flower_shows_the_converter_behind_its_password(monitored: ComposeProject) -> None:
    url = f"http://127.0.0.1:{monitored.settings['FLOWER_PORT']}/api/workers"
    account = ("ovchat", monitored.settings["FLOWER_PASSWORD"])
    assert httpx.get(url, trust_env=False).status_code == 401
    assert httpx.get(url, auth=("ovchat", ""), trust_env=False).status_code == 401
    deadline = time.monotonic() + 60
    while not any("@converter-" in name for name in httpx.get(url, auth=account, trust_env=False).json()):
        assert time.monotonic() < deadline, "Flower does not see the converter"
        time.sleep(0.5)


def test_what_watches_is_seen_from_this_host_only_and_runs_as_the_others_do(monitored: ComposeProject) -> None:
    published = monitored.published()
    assert published.keys() == {"proxy", "flower"}
    assert published["flower"] == {"127.0.0.1"}
    for service in SERVICES:
        assert monitored.execute("proxy", "getent", "hosts", service, check=False).returncode != 0
        [user, *rest] = monitored.execute(service, "sh", "-c", "id -u; touch /stray || echo read only").stdout.split(
            "\n"
        )
        assert (user, rest[0]) == ("10001", "read only")
    for secret in ("OVCHAT_METRICS_KEY", "FLOWER_PASSWORD"):
        assert [process for process in monitored.processes() if monitored.settings[secret] in process.command] == []
        assert monitored.settings[secret] not in monitored.logs()
