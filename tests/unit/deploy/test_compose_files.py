"""What compose.yaml, the Dockerfiles and .env.example must agree on, read as files: no container engine is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs

from shared.settings import known_names

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
SERVICES = ("gateway", "converter_worker", "inference_worker")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))


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


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_made_with_the_locked_installer_and_the_projects_version(service: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [uv] = re.findall(r"^uv==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), flags=re.MULTILINE)
    assert f"ARG UV_VERSION={uv}\n" in _dockerfile(service)
    assert f"ARG VERSION={project['version']}\n" in _dockerfile(service)


@pytest.mark.parametrize("service", [*SERVICES, "redis"])
def test_an_image_needs_no_root_and_says_how_it_is(service: str) -> None:
    text = _dockerfile(service)
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE)[-1] == "10001:10001"
    assert "HEALTHCHECK" in text
    # What only BuildKit knows.
    assert not re.search(r"^# syntax=|--mount=|<<|--chmod", text, flags=re.MULTILINE)


def test_only_the_converter_may_write_the_store() -> None:
    mounts = {
        name: [v for v in s["volumes"] if v.startswith("models:")]
        for name, s in COMPOSE["services"].items()
        if "volumes" in s
    }
    assert mounts == {
        "redis": [],
        "gateway": [],
        "converter": ["models:/models"],
        "inference-cpu": ["models:/models:ro"],
    }


def test_every_setting_of_a_service_is_known_to_the_code() -> None:
    names = {name for s in COMPOSE["services"].values() for name in _environment(s) if name.startswith("OVCHAT_")}
    assert names - known_names() == set()


def test_the_example_names_what_compose_reads_and_nothing_else() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    passed = {name for s in COMPOSE["services"].values() for name, value in _environment(s).items() if value is None}
    read = passed | set(re.findall(r"\$\{([A-Z_]+)", text)) - {"REVISION"}
    example = (ROOT / "deploy" / ".env.example").read_text("utf-8")
    named = set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE)) - {"COMPOSE_PROJECT_NAME"}
    assert named == read


def test_every_service_has_a_bounded_log_a_grace_period_and_no_privileges() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["stop_grace_period"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name


def test_the_file_has_nothing_that_one_compose_only_knows() -> None:
    assert COMPOSE.keys() - {"services", "networks", "volumes"} == {"x-service", "x-common"}
    known_to_both = {
        "build", "cap_drop", "command", "depends_on", "environment", "image", "init", "logging", "networks", "ports",
        "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
    }  # fmt: skip
    assert {key for service in COMPOSE["services"].values() for key in service} == known_to_both
