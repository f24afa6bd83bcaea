"""Every alert fires when it should and keeps quiet when it just should not; Prometheus takes the configuration.

Each case is a platform in good order of which a few samples are other ones. promtool evaluates the rules over it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs

from tests.helpers.prometheus import MONITORING, ROOT, require

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
#: Minutes of each case, one sample a minute, and when it is looked at.
MINUTES, LOOKED_AT = 60, 40

GATEWAY = 'up{job="ovchat-gateway",instance="gw-1"}'
WORKERS = 'ovchat:workers{device="CPU",instance="gw-1"}'
WAITING = 'vllm:num_requests_waiting{model_name="m",instance="gw-1"}'
READY = 'ovchat:replicas{model_name="m",state="ready",instance="w-1"}'
OVERLOADED = 'ovchat:rejections_total{code="overloaded",status="503"}'
FAILURES = 'ovchat:generation_failures_total{model_name="m",code="internal_error"}'
SUCCESSES = 'vllm:request_success_total{model_name="m",finished_reason="stop"}'
FIRST_TOKEN = 'vllm:time_to_first_token_seconds_{}model_name="m"}}'
FIRST_TOKENS = {le: FIRST_TOKEN.format(f'bucket{{le="{le}",') for le in ("5", "10", "20", "+Inf")}
FIRST_TOKEN_COUNT = FIRST_TOKEN.format("count{")
TOKENS = {
    le: f'vllm:inter_token_latency_seconds_bucket{{model_name="m",le="{le}"}}' for le in ("0.1", "0.5", "1", "+Inf")
}
PREEMPTIONS = 'vllm:num_preemptions_total{model_name="m"}'
LOAD_FAILURES = 'ovchat:model_load_failures_total{model_name="m",code="load_failed"}'
DEATHS = 'ovchat:replica_deaths_total{model_name="m"}'
QUEUED, FAILED = (f'ovchat:conversions{{state="{state}"}}' for state in ("queued", "failed"))
DISK_FREE = 'ovchat:converter_disk_free_bytes{host="builder"}'
REDIS_UP = 'ovchat:redis_up{database="state",instance="gw-1"}'
REDIS_MEMORY = 'ovchat:redis_memory_bytes{database="state"}'
REDIS_LIMIT = 'ovchat:redis_memory_limit_bytes{database="state"}'
REDIS_DISK = 'ovchat:redis_disk_failing{database="state"}'
MEMORY_FREE = 'ovchat:memory_free_bytes{engine="CPU",instance="w-1"}'

#: What is missing begins or ends; `a+bxn` grows by b with each sample.
MISSING = f"_x{MINUTES}"


def steady(value: float) -> str:
    return f"{value}x{MINUTES}"


def growing(by: float, *, start: float = 0) -> str:
    return f"{start}+{by}x{MINUTES}"


def jump(at: int, before: str, after: str) -> str:
    """Return samples that are others from a minute on."""
    return f"{before}x{at - 1} {after}x{MINUTES - at}"


#: A platform in good order, at work.
GOOD = {
    GATEWAY: steady(1),
    'up{job="ovchat-worker",instance="w-1"}': steady(1),
    WORKERS: steady(1),
    "ovchat:workers_lost_total": steady(0),
    WAITING: steady(3),
    "ovchat:waiting_limit": steady(100),
    'ovchat:longest_wait_seconds{model_name="m"}': steady(5),
    "ovchat:unstored_generations": steady(2),
    READY: steady(1),
    'ovchat:rejections_total{code="rate_limit_exceeded",status="429"}': growing(100),
    SUCCESSES: growing(10),
    **dict.fromkeys((*FIRST_TOKENS.values(), FIRST_TOKEN_COUNT), growing(10)),
    **dict.fromkeys(TOKENS.values(), growing(500)),
    PREEMPTIONS: steady(0),
    QUEUED: steady(1),
    FAILED: steady(3),
    "ovchat:conversion_silent_seconds": steady(10),
    "ovchat:converters": steady(1),
    'ovchat:converter_disk_bytes{host="builder"}': steady(100),
    DISK_FREE: steady(50),
    MEMORY_FREE: steady(20),
    'ovchat:memory_budget_bytes{engine="CPU",instance="w-1"}': steady(100),
    REDIS_UP: steady(1),
    REDIS_MEMORY: steady(40),
    REDIS_LIMIT: steady(100),
    REDIS_DISK: steady(0),
}


class Case(NamedTuple):
    """What differs from the good order where an alert fires, where it just does not, and what else fires then."""

    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    others: tuple[str, ...] = ()


CASES = {
    "NoGateway": Case({GATEWAY: steady(0)}, {'up{job="ovchat-gateway",instance="gw-2"}': steady(1)}, ("TargetDown",)),
    "TargetDown": Case(
        {'up{job="ovchat-worker",instance="w-2"}': jump(37, "1", "0")},
        # It was started anew.
        {'up{job="ovchat-worker",instance="w-2"}': jump(39, "1", "0")},
    ),
    "RequestsRefused": Case({OVERLOADED: growing(2)}, {OVERLOADED: growing(0.5)}),
    "GenerationsFail": Case({FAILURES: growing(1)}, {FAILURES: growing(0.4)}),
    "AnswersUnstored": Case(
        {"ovchat:unstored_generations": steady(200)}, {"ovchat:unstored_generations": jump(37, "0", "200")}
    ),
    "FirstTokenSlow": Case(
        dict.fromkeys((FIRST_TOKENS["5"], FIRST_TOKENS["10"]), steady(0)),
        dict.fromkeys((FIRST_TOKENS["5"],), steady(0)),
    ),
    "TokensSlow": Case(
        dict.fromkeys((TOKENS["0.1"], TOKENS["0.5"]), steady(0)), dict.fromkeys((TOKENS["0.1"],), steady(0))
    ),
    "WaitsLong": Case(
        {'ovchat:longest_wait_seconds{model_name="m"}': steady(90)},
        {'ovchat:longest_wait_seconds{model_name="m"}': jump(39, "5", "90")},
    ),
    "QueueNearLimit": Case({WAITING: steady(90)}, {WAITING: steady(80)}),
    "Preemptions": Case({PREEMPTIONS: growing(2)}, {PREEMPTIONS: growing(0.5)}),
    # Where Redis is away nothing is known of the workers, and another alert says so.
    "NoWorker": Case({WORKERS: MISSING}, {WORKERS: MISSING, REDIS_UP: steady(0)}),
    "WorkerLost": Case(
        {"ovchat:workers_lost_total": jump(30, "0", "1")}, {"ovchat:workers_lost_total": jump(20, "0", "1")}
    ),
    "ModelWithoutReplica": Case(
        {READY: MISSING}, {READY: MISSING, 'ovchat:replicas{model_name="m",state="loading",instance="w-1"}': steady(1)}
    ),
    "ModelLoadFails": Case(
        {LOAD_FAILURES: jump(35, "_", "1")},
        {LOAD_FAILURES: jump(20, "_", "1")},
    ),
    "ReplicaDied": Case({DEATHS: jump(35, "1", "2")}, {DEATHS: jump(20, "_", "1")}),
    "MemoryShort": Case({MEMORY_FREE: steady(4)}, {MEMORY_FREE: steady(6)}),
    "NoConverter": Case({"ovchat:converters": steady(0)}, {"ovchat:converters": steady(0), QUEUED: steady(0)}),
    "ConversionSilent": Case(
        {"ovchat:conversion_silent_seconds": steady(3700)}, {"ovchat:conversion_silent_seconds": steady(3500)}
    ),
    "ConversionFailed": Case({FAILED: jump(35, "3", "4")}, {FAILED: jump(35, "3", "2")}),
    "StoreDiskLow": Case({DISK_FREE: steady(9)}, {DISK_FREE: steady(11)}),
    "RedisUnreachable": Case({REDIS_UP: jump(38, "1", "0")}, {REDIS_UP: jump(40, "1", "0")}),
    "RedisMemoryHigh": Case({REDIS_MEMORY: steady(85)}, {REDIS_MEMORY: steady(85), REDIS_LIMIT: steady(0)}),
    "RedisMemoryFull": Case({REDIS_MEMORY: steady(96)}, {REDIS_MEMORY: steady(94)}, ("RedisMemoryHigh",)),
    "RedisDiskFails": Case({REDIS_DISK: steady(1)}, {REDIS_DISK: jump(40, "0", "1")}),
}
#: What fires in a quiet case on purpose.
QUIET_FIRES = {"NoWorker": ("RedisUnreachable",), "RedisMemoryFull": ("RedisMemoryHigh",)}


def group(changes: Mapping[str, str], firing: tuple[str, ...]) -> dict[str, Any]:
    """Return promtool's form of a case: the samples, and which alerts fire at the time."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in {**GOOD, **changes}.items()],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{LOOKED_AT}m",
                "exp_samples": samples,
            }
        ],
    }


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([require("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yaml")
    promtool("check", "rules", "--lint-fatal", MONITORING / "alerts.yaml")


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert [rule["alert"] for rule in RULES] == list(CASES)
    groups = [group({}, ())]
    for name, case in CASES.items():
        groups.append(group(case.fires, (name, *case.others)))
        groups.append(group(case.quiet, QUIET_FIRES.get(name, ())))
    tests = tmp_path / "tests.yaml"
    tests.write_text(
        yaml.safe_dump({"rule_files": [str(MONITORING / "alerts.yaml")], "evaluation_interval": "1m", "tests": groups})
    )
    promtool("test", "rules", tests)


def test_every_alert_says_what_is_wrong_and_what_to_do_and_has_a_line_in_the_document() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]
    document = (ROOT / "deploy" / "docs" / "monitoring.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", document, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]


def test_the_configuration_finds_the_composed_services_by_their_names_and_ports() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]
    jobs = {
        job["job_name"]: job["dns_sd_configs"][0]
        for job in yaml.safe_load((MONITORING / "prometheus.yaml").read_text("utf-8"))["scrape_configs"]
        if "dns_sd_configs" in job
    }
    gateway, worker = jobs["ovchat-gateway"], jobs["ovchat-worker"]
    assert gateway["names"] == ["gateway"]
    assert str(gateway["port"]) == compose["gateway"]["environment"]["OVCHAT_PORT"]
    workers = [service for name, service in compose.items() if name.startswith("inference-")]
    assert len(workers) == 3
    for service in workers:
        assert worker["names"] == service["networks"]["inside"]["aliases"]
        assert str(worker["port"]) == service["environment"]["OVCHAT_METRICS_PORT"]
