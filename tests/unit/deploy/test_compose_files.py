"""What compose.yaml, the Dockerfiles and .env.example must agree on, read as files: no container engine is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs

from shared.settings import PREFIX, CommonSettings, ConverterSettings, GatewaySettings, InferenceSettings, known_names

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
SERVICES = ("gateway", "converter_worker", "inference_worker")
DEVICES = ("cpu", "gpu", "npu")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
SERVED: dict[str, dict[str, Any]] = COMPOSE["services"]


def _dockerfile(service: str) -> str:
    return (DOCKER / f"{service}.Dockerfile").read_text("utf-8")


def _environment(service: dict[str, Any]) -> dict[str, str | None]:
    environment: dict[str, str | None] = service.get("environment", {})
    return environment


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_its_own_code_and_the_shared_one_only(service: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", _dockerfile(service), flags=re.MULTILINE)
    folders = {source.split("/")[0] for line in copied for source in line.split()}
    assert folders == {"deploy", "shared", service}


@pytest.mark.parametrize("service", [*SERVICES, "flower"])
def test_an_image_is_made_with_the_locked_installer(service: str) -> None:
    [uv] = re.findall(r"^uv==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), flags=re.MULTILINE)
    assert f"ARG UV_VERSION={uv}\n" in _dockerfile(service)


@pytest.mark.parametrize("service", [*SERVICES, "redis", "proxy", "prometheus", "grafana", "flower"])
def test_an_image_needs_no_root_and_says_how_it_is(service: str) -> None:
    text = _dockerfile(service)
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE)[-1] == "10001:10001"
    assert "HEALTHCHECK" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"ARG VERSION={project['version']}\n" in text
    # Without setuid programs and installers, before it gives root away.
    assert 0 < text.index("RUN ovchat-harden\n") < text.index("USER 10001")
    # What only BuildKit knows.
    assert not re.search(r"^# syntax=|--mount=|<<|--chmod", text, flags=re.MULTILINE)


def test_only_the_converter_may_write_the_store() -> None:
    mounts = {name: [v for v in s.get("volumes", []) if v.startswith("models:")] for name, s in SERVED.items()}
    assert {name: found for name, found in mounts.items() if found} == {
        "converter": ["models:/models"],
        **{f"inference-{device}": ["models:/models:ro"] for device in DEVICES},
        "store": ["models:/models:ro"],
    }


def test_only_the_proxy_is_published_and_it_cannot_reach_redis() -> None:
    ports = {name: service["ports"] for name, service in SERVED.items() if "ports" in service}
    assert ports.keys() == {"proxy", "proxy-tls", "store", "grafana", "flower"}
    # What operators look at is seen from this host only, whatever is set.
    assert [port for name in ("grafana", "flower") for port in ports[name] if not port.startswith("127.0.0.1:")] == []
    assert [name for name in ports if "profiles" not in SERVED[name]] == ["proxy"]
    assert {name for name, service in SERVED.items() if "outside" in service["networks"]} == {
        "proxy", "proxy-tls", "converter",
    }  # fmt: skip
    assert not set(SERVED["proxy"]["networks"]) & set(SERVED["redis"]["networks"])
    assert "inside" not in SERVED["grafana"]["networks"]
    unmasked = {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}
    assert COMPOSE["networks"] == {
        "front": {"internal": True}, "inside": {"internal": True}, "outside": {}, "desk": unmasked,
        "workers": unmasked,
    }  # fmt: skip
    # Redis is only there with compose.redis-tls.yaml, and nobody but it and the store ever is.
    assert [name for name, service in SERVED.items() if "workers" in service["networks"]] == ["store"]
    assert SERVED["store"]["networks"] == ["workers"]


def test_redis_has_a_password_a_memory_limit_and_forgets_nothing() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    # Without a password the file is refused, and nothing has one of its own.
    uses = re.findall(r"\$\{OVCHAT_REDIS_PASSWORD(.*?)\}", text)
    assert len(uses) == 2
    assert all(use.startswith(":?run deploy/bin/first-env") for use in uses)
    configuration = (DOCKER / "redis.conf").read_text("utf-8").splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(configuration)
    assert SERVED["redis"]["environment"]["REDIS_MAXMEMORY"]


def test_every_setting_of_a_service_is_known_to_the_code() -> None:
    names = {name for s in SERVED.values() for name in _environment(s) if name.startswith("OVCHAT_")}
    assert names - known_names() == set()


@pytest.mark.parametrize(
    ("service", "settings", "fixed"),
    [
        ("gateway", GatewaySettings, {"AUTH"}),
        ("converter", ConverterSettings, {"CONVERSION_DIR", "STACKS_DIR"}),
        (
            "inference-cpu",
            InferenceSettings,
            # Of the sample engine and its tests; and of other hosts, which have a file of their own.
            {"SAMPLE_TOKENS_PER_SECOND", "TOKEN_LOG_DIR", "STORE_CACHE_BYTES", "STORE_KEY", "STORE_URL"},
        ),
    ],
)
def test_an_operator_can_set_whatever_a_service_knows(
    service: str, settings: type[CommonSettings], fixed: set[str]
) -> None:
    """The accident: a new setting works everywhere but in a container, which is never told of it.

    `fixed` is what the images and this file decide, beside the places of the volumes and of the authority.
    """
    known = {field.upper() for field in settings.model_fields}
    passed = {name.removeprefix(PREFIX) for name in _environment(SERVED[service])}
    assert known - passed == fixed | {"CA_FILE", "DATA_DIR", "MODEL_STORE"}


def test_the_example_names_what_compose_reads_and_nothing_else() -> None:
    files = sorted((ROOT / "deploy").glob("compose*.yaml"))
    text = "".join(file.read_text("utf-8") for file in files)
    services = [service for file in files for service in yaml.safe_load(file.read_text("utf-8"))["services"].values()]
    passed = {name for s in services for name, value in _environment(s).items() if value is None}
    read = passed | set(re.findall(r"\$\{([A-Z_]+)", text)) - {"REVISION"}
    example = (ROOT / "deploy" / ".env.example").read_text("utf-8")
    named = set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE)) - {"COMPOSE_PROJECT_NAME", "COMPOSE_FILE"}
    assert named == read


def test_every_service_has_a_bounded_log_limits_a_grace_period_and_no_privileges() -> None:
    for name, service in SERVED.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["stop_grace_period"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert service["init"], name
        # What may be written is in memory or in a volume.
        assert service["tmpfs"], name


def test_a_service_is_given_longer_to_stop_than_its_settings_let_it_take() -> None:
    taken = {
        "gateway": GatewaySettings.model_fields["shutdown_grace_seconds"].default,
        **{f"inference-{device}": InferenceSettings.model_fields["drain_grace_seconds"].default for device in DEVICES},
    }
    given = {name: float(SERVED[name]["stop_grace_period"].removesuffix("s")) for name in taken}
    assert {name: (given[name], grace) for name, grace in taken.items() if given[name] <= grace} == {}


def test_no_file_brings_a_secret_of_its_own() -> None:
    """A password that everybody can read in the repository would be the one that most installations keep."""
    secret = r"\w*(?:PASSWORD|PASSWD|SECRET|TOKEN|KEY|REDISCLI_AUTH)"
    for path in [*sorted((ROOT / "deploy").glob("compose*.yaml")), *sorted(DOCKER.glob("*.Dockerfile"))]:
        text = path.read_text("utf-8")
        # Its default may be empty or a complaint.
        assert re.findall(rf"\$\{{{secret}(?::?-[^}}]+)\}}", text) == [], path.name
        assert re.findall(rf"^ *(?:ENV|ARG)? *{secret}(?:: |=)(?!\$\{{).+$", text, flags=re.MULTILINE) == [], path.name
    example = (ROOT / "deploy" / ".env.example").read_text("utf-8")
    assert re.findall(rf"^#?{secret}=.+$", example, flags=re.MULTILINE) == []


def test_every_service_is_an_image_of_ours_with_a_health_check_of_its_own() -> None:
    for name, service in SERVED.items():
        dockerfile = (ROOT / service["build"]["dockerfile"]).read_text("utf-8")
        assert "HEALTHCHECK" in dockerfile, name
        assert all(wish == {"condition": "service_healthy"} for wish in service.get("depends_on", {}).values()), name


def test_the_file_has_nothing_that_one_compose_only_knows() -> None:
    assert COMPOSE.keys() - {"services", "networks", "volumes"} == {"x-service", "x-common"}
    known_to_both = {
        "build", "cap_drop", "command", "cpus", "depends_on", "devices", "entrypoint", "environment", "group_add",
        "image", "init", "logging", "mem_limit", "networks", "pids_limit", "ports", "profiles", "read_only", "restart",
        "security_opt", "stop_grace_period", "tmpfs", "volumes",
    }  # fmt: skip
    assert {key for service in SERVED.values() for key in service} == known_to_both


def test_a_worker_of_another_host_is_the_same_but_for_where_redis_and_the_store_are() -> None:
    worker = yaml.safe_load((ROOT / "deploy" / "compose.worker.yaml").read_text("utf-8"))
    assert worker.keys() == {"x-service", "services"}
    [alone] = worker["services"].values()
    local = SERVED["inference-cpu"]
    own = {"build", "depends_on", "environment", "networks", "volumes"}
    assert {k: v for k, v in alone.items() if k not in own} == {k: v for k, v in local.items() if k not in own}
    differing = {"OVCHAT_REDIS_URL", "OVCHAT_HOST_ID"}
    assert alone["environment"].keys() - local["environment"].keys() == {"OVCHAT_CA_FILE"}
    assert {k for k, v in local["environment"].items() if v != alone["environment"][k]} == differing
    # What has no default that could be right is asked for.
    assert all(":?" in alone["environment"][name] for name in differing)
    # Read only where it is mounted; a volume of the host's own in its place where models are fetched.
    assert [volume.rsplit("}", 1)[-1] for volume in alone["volumes"]] == [":/models:ro", ":/certs:ro"]
    fetching = yaml.safe_load((ROOT / "deploy" / "compose.worker.store.yaml").read_text("utf-8"))
    assert fetching["services"]["inference-cpu"]["volumes"] == ["model-cache:/models"]


def test_the_first_environment_has_passwords_that_stay_and_that_only_its_owner_reads(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = shutil.copy(ROOT / "deploy" / "bin" / "first-env", tmp_path / "bin")
    shutil.copy(ROOT / "deploy" / ".env.example", tmp_path)
    made = []
    for _ in range(2):
        said = subprocess.run([script], capture_output=True, text=True, check=True).stdout
        text = (tmp_path / ".env").read_text("utf-8")
        secrets = dict(re.findall(r"^([A-Z_]+)=([0-9a-f]{48})$", text, flags=re.MULTILINE))
        assert secrets.keys() == {
            "OVCHAT_REDIS_PASSWORD",
            "OVCHAT_STORE_KEY",
            "OVCHAT_METRICS_KEY",
            "GRAFANA_PASSWORD",
            "FLOWER_PASSWORD",
        }
        assert [name for name, secret in secrets.items() if secret in said] == []
        assert len(set(secrets.values())) == len(secrets)
        made.append(text)
    assert made[0] == made[1]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
