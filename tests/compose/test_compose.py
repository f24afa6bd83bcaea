"""The composed platform as an operator and a user see it. The tests build on each other, in this order.

The demo model is converted from the package in the converter's image: no model hub is asked.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.compose.compose_project import ComposeProject
from tests.compose.conftest import SERVICES, free_port
from tests.compose.platform_client import PlatformClient

SOURCE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODEL = "smollm2-135m-instruct"
pytestmark = pytest.mark.timeout(1800)  # the first test waits for the images


@pytest.fixture(scope="session")
def converted(project: ComposeProject, client: PlatformClient) -> dict[str, object]:
    """The job that converted the demo model to int4, and the model's entry."""
    began = time.monotonic()
    job = client.convert(SOURCE_MODEL, ["int4"], timeout_seconds=600)
    project.durations["conversion to int4"] = time.monotonic() - began
    assert job["state"] == "succeeded", job
    return job


def test_every_service_runs_and_is_healthy(project: ComposeProject) -> None:
    assert project.health() == [(service, "healthy") for service in sorted(SERVICES)]


def test_no_process_runs_as_root(project: ComposeProject) -> None:
    processes = project.processes()
    assert len({process.container for process in processes}) == len(SERVICES)
    assert [process for process in processes if process.uid == 0] == []


@pytest.mark.parametrize(("service", "present"), [("gateway", False), ("inference-cpu", False), ("converter", True)])
def test_torch_is_in_the_converter_only(project: ComposeProject, service: str, present: bool) -> None:
    probe = "import importlib.util; print(importlib.util.find_spec('torch') is not None)"
    assert project.execute(service, "python", "-c", probe).stdout.strip() == str(present)


def test_only_the_proxy_is_published(project: ComposeProject) -> None:
    bindings = {service: project.run("ps", service).stdout.count("->") for service in SERVICES}
    assert bindings == {"redis": 0, "proxy": 1, "gateway": 0, "converter": 0, "inference-cpu": 0}


def test_redis_asks_for_its_password_and_shows_it_in_no_argument_and_no_log(project: ComposeProject) -> None:
    refused = project.execute("redis", "env", "--unset=REDISCLI_AUTH", "redis-cli", "dbsize")
    assert "NOAUTH" in refused.stdout
    settings = project.execute("redis", "redis-cli", "config", "get", "maxmemory*").stdout.split()
    assert settings[settings.index("maxmemory") + 1] == str(1 << 30)
    assert settings[settings.index("maxmemory-policy") + 1] == "noeviction"
    password = project.settings["OVCHAT_REDIS_PASSWORD"]
    assert [process for process in project.processes() if password in process.command] == []
    assert password not in project.logs()


def test_the_proxy_reaches_the_gateways_and_not_redis(project: ComposeProject) -> None:
    assert project.execute("proxy", "getent", "hosts", "gateway").returncode == 0
    assert project.execute("proxy", "getent", "hosts", "redis", check=False).returncode != 0


def test_the_proxy_tells_the_gateways_who_asks_and_keeps_their_limit(client: PlatformClient) -> None:
    # A socket by the page's cookie is only opened where Origin and Host agree: Host comes through with its port.
    assert client.socket_status_of_a_page() == 101
    assert client.socket_status_of_a_page(origin="http://elsewhere.example") == 403
    too_large = client.post_bytes("/api/v1/conversions", (8 << 20) + 1)
    assert too_large.status_code == 413
    assert too_large.json()["error"]["code"] == "request_too_large"


def test_the_key_is_the_owners_alone_and_guards_the_api(project: ComposeProject, client: PlatformClient) -> None:
    assert project.execute("gateway", "stat", "-c", "%a %u", "/data/admin.key").stdout.split() == ["600", "10001"]
    key = project.execute("gateway", "cat", "/data/admin.key").stdout
    assert project.execute("gateway", "ovchat", "keys", "first").stdout == key
    again = project.execute("gateway", "ovchat", "keys", "first", check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert client.status_without_key("/api/v1/models") == 401
    assert client.status_without_key("/readyz") == 200


def test_the_demo_model_is_converted_through_the_published_port(
    client: PlatformClient, converted: dict[str, object]
) -> None:
    models = {view["model"]: view for view in client.get("/api/v1/models")["data"]}
    [variant] = models[MODEL]["variants"]
    assert variant["variant"] == "int4"
    assert variant["compression_rate"] > 2
    assert variant["verification"]["passed"]


async def test_a_chat_streams_through_the_published_port(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object]
) -> None:
    began = time.monotonic()
    answer = await client.chat(MODEL, "What is the capital of France?", request_id="compose-first")
    project.durations["first chat, with loading"] = time.monotonic() - began
    assert "Paris" in answer.text
    assert answer.seqs == list(range(1, len(answer.seqs) + 1))
    assert answer.finish_reason in ("stop", "length")


def test_a_worker_cannot_write_into_the_store(project: ComposeProject, converted: dict[str, object]) -> None:
    manifest = f"/models/{MODEL}/int4/manifest.json"
    assert project.execute("inference-cpu", "test", "-r", manifest).returncode == 0
    for command in (["touch", "/models/stray"], ["rm", "-f", manifest]):
        refused = project.execute("inference-cpu", *command, check=False)
        assert refused.returncode != 0
        assert "Read-only file system" in refused.stdout + refused.stderr
    assert project.execute("converter", "test", "-w", "/models").returncode == 0


async def test_two_workers_share_the_chats(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object]
) -> None:
    # A new worker takes chats of a model once it has loaded it.
    project.settings["OVCHAT_PRELOAD_MODELS"] = f"{MODEL}:int4"
    began = time.monotonic()
    project.run("up", "--detach", "--no-recreate", "--scale", "inference-cpu=2")
    project.wait_until_healthy(len(SERVICES) + 1, timeout_seconds=120)
    while client.ready_replicas(MODEL, "int4") < 2:
        assert time.monotonic() - began < 180, client.get("/api/v1/replicas")
        await asyncio.sleep(0.5)
    project.durations["second worker until it serves"] = time.monotonic() - began

    workers = client.get("/api/v1/workers")["data"]
    assert len({worker["worker_id"] for worker in workers}) == 2
    assert len({worker["node"] for worker in workers}) == 2
    assert {worker["host_id"] for worker in workers} == {"compose"}, "they share one machine's memory and cores"
    before = client.tokens_by_worker()
    questions = [f"Write two sentences about the number {number}." for number in range(8)]
    began = time.monotonic()
    answers = await asyncio.gather(
        *(client.chat(MODEL, text, request_id=f"compose-{number}") for number, text in enumerate(questions))
    )
    project.durations["8 chats on two workers"] = time.monotonic() - began
    assert all(answer.seqs == list(range(1, len(answer.seqs) + 1)) for answer in answers)
    assert {answer.worker_id for answer in answers} == set(before)

    expected = dict.fromkeys(before, 0)
    for answer in answers:
        expected[answer.worker_id] += answer.completion_tokens
    # The registry hears of tokens with the next heartbeat.
    deadline = time.monotonic() + 10
    while any((after := client.tokens_by_worker())[worker] < before[worker] + expected[worker] for worker in before):
        assert time.monotonic() < deadline, (before, expected, after)
        await asyncio.sleep(0.5)


async def test_two_gateways_share_requests_and_sockets(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object]
) -> None:
    scales = ("--scale", "inference-cpu=2", "--scale", "gateway=2")
    project.run("up", "--detach", "--no-recreate", *scales)
    project.wait_until_healthy(len(SERVICES) + 2, timeout_seconds=120)
    before = len(project.gateways_asked())
    # The proxy looks for gateways every 2 s.
    deadline = time.monotonic() + 30
    while len(set(project.gateways_asked()[before:])) < 2:
        assert time.monotonic() < deadline, project.gateways_asked()
        client.get("/api/v1/models")
    before = len(project.gateways_asked("/api/v1/ws"))
    answers = await asyncio.gather(
        *(client.chat(MODEL, f"Count to {number}.", request_id=f"two-gateways-{number}") for number in range(12))
    )
    assert all(answer.seqs == list(range(1, len(answer.seqs) + 1)) for answer in answers)
    assert len(set(project.gateways_asked("/api/v1/ws")[before:])) == 2

    # One is gone without a word: what is asked next finds the other.
    project.kill_one("gateway")
    assert {client.status_without_key("/readyz") for _ in range(10)} == {200}
    assert "Paris" in (await client.chat(MODEL, "What is the capital of France?", request_id="one-gateway")).text
    project.run("up", "--detach", "--no-recreate", *scales)
    project.wait_until_healthy(len(SERVICES) + 2, timeout_seconds=60)


def test_a_stopped_redis_comes_back_with_what_it_knew(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object]
) -> None:
    job = client.get("/api/v1/conversions")["data"][0]
    # Killed, not asked: the append-only file has every write that was answered.
    project.run("kill", "redis")
    project.run("up", "--detach", "--no-recreate", "--scale", "inference-cpu=2", "--scale", "gateway=2")
    project.wait_until_healthy(len(SERVICES) + 2, timeout_seconds=90)
    assert client.get("/api/v1/conversions")["data"][0] == job
    assert [view["model"] for view in client.get("/api/v1/models")["data"]] == [MODEL]


async def test_a_chat_streams_through_the_proxy_with_a_certificate(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object], tmp_path: Path
) -> None:
    port = free_port()
    project.settings |= {"TLS_DIR": str(tmp_path), "HTTPS_PORT": str(port)}
    project.script("certificate", "localhost", "127.0.0.1")
    project.run("up", "--detach", "--no-deps", "proxy-tls")
    try:
        project.wait_until_healthy(len(SERVICES) + 3, timeout_seconds=60)
        with closing(PlatformClient(port, client.key, certificate=tmp_path / "tls.crt")) as secured:
            answer = await secured.chat(MODEL, "What is the capital of France?", request_id="through-tls")
            assert "Paris" in answer.text
            # The gateway heard that the visitor came by https, and the proxy does not believe a visitor who says so.
            assert "; Secure" in secured.sign_in()["set-cookie"]
            assert "; Secure" not in client.sign_in({"X-Forwarded-Proto": "https"})["set-cookie"]
            assert secured.socket_status_of_a_page() == 101
    finally:
        project.run("rm", "--stop", "--force", "proxy-tls")


async def test_a_backup_brings_everything_back_after_all_volumes_were_wiped(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object], tmp_path: Path
) -> None:
    chats, models = client.get("/api/v1/chats"), client.get("/api/v1/models")
    jobs = client.get("/api/v1/conversions")["data"]
    assert len(chats["data"]) > 10
    folder = tmp_path / "backup"
    began = time.monotonic()
    project.script("backup", str(folder))
    project.durations["backup"] = time.monotonic() - began
    assert folder.stat().st_mode & 0o077 == 0
    refused = project.script("restore", str(folder), check=False)
    assert "stop it first" in refused.stderr

    project.run("down", "--volumes", "--timeout", "30")
    began = time.monotonic()
    project.script("restore", str(folder))
    refused = project.script("restore", str(folder), check=False)
    assert "not empty" in refused.stderr
    project.run("up", "--detach")
    project.wait_until_healthy(len(SERVICES), timeout_seconds=120)
    project.durations["restore until healthy"] = time.monotonic() - began

    # The key of before opens it, and everything that it showed is there.
    assert client.get("/api/v1/chats") == chats
    assert client.get("/api/v1/conversions")["data"] == jobs
    assert [view["model"] for view in client.get("/api/v1/models")["data"]] == [
        view["model"] for view in models["data"]
    ]
    answer = await client.chat(MODEL, "What is the capital of France?", request_id="after-restore")
    assert "Paris" in answer.text
