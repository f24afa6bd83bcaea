"""A worker of another host: a project of its own with the platform's published Redis and store, and nothing else."""

from __future__ import annotations

import secrets
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.compose_project import COMPOSE_FILE, ROOT, ComposeProject
from tests.compose.conftest import free_port
from tests.compose.platform_client import MODEL, PlatformClient

DEPLOY = ROOT / "deploy"
HOST_ID = "worker-2"


@pytest.fixture(scope="module")
def address() -> str:
    """This machine's own address that every container reaches."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    command = ["docker", "network", "inspect", "bridge", "--format", template]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def opened(
    project: ComposeProject,
    converted: dict[str, object],
    address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComposeProject]:
    """The platform with the demo model, its Redis published with TLS, its store beside."""
    before = dict(project.settings)
    project.settings |= {
        "TLS_DIR": str(tmp_path_factory.mktemp("certs")),
        "REDIS_TLS_HOST": address,
        "REDIS_TLS_PORT": str(free_port()),
        "STORE_HOST": address,
        "STORE_PORT": str(free_port()),
        "OVCHAT_STORE_KEY": secrets.token_hex(24),
    }
    project.files = (COMPOSE_FILE, DEPLOY / "compose.redis-tls.yaml")
    project.script("certificate", "platform.example.org", "127.0.0.1", address)
    try:
        project.run("up", "--detach", "--no-deps", "redis")
        project.bring_up(store=1)
        yield project
    finally:
        project.run("rm", "--stop", "--force", "store")
        project.scales.pop("store", None)
        project.settings, project.files = before, (COMPOSE_FILE,)
        project.run("up", "--detach", "--no-deps", "redis")
        project.bring_up()


@pytest.fixture
def worker_host(opened: ComposeProject, address: str, tmp_path: Path) -> Iterator[ComposeProject]:
    """The other host's project, not started."""
    password, port = (opened.settings[name] for name in ("OVCHAT_REDIS_PASSWORD", "REDIS_TLS_PORT"))
    redis = f"rediss://:{password}@{address}:{port}/0"
    kept = ("IMAGE_TAG", "OVCHAT_KV_CACHE_BYTES", "TLS_DIR", "OVCHAT_STORE_KEY")
    settings = {
        **{name: opened.settings[name] for name in kept},
        "OVCHAT_HOST_ID": HOST_ID,
        "OVCHAT_REDIS_URL": redis,
        "OVCHAT_STORE_URL": f"https://{address}:{opened.settings['STORE_PORT']}",
        "OVCHAT_CA_FILE": "/certs/tls.crt",
    }
    files = (DEPLOY / "compose.worker.yaml", DEPLOY / "compose.worker.store.yaml")
    host = ComposeProject(f"{opened.name}-worker", settings, tmp_path / "env", {"inference-cpu": 1}, files)
    try:
        yield host
    finally:
        host.down()


def test_the_store_gives_published_files_to_who_has_the_key(opened: ComposeProject, address: str) -> None:
    trust = ssl.create_default_context(cafile=f"{opened.settings['TLS_DIR']}/tls.crt")
    url = f"https://{address}:{opened.settings['STORE_PORT']}"
    with httpx.Client(base_url=url, verify=trust, trust_env=False) as store:
        manifest = f"/{MODEL}/int4/manifest.json"
        assert store.get(manifest).status_code == 401
        assert store.get(manifest, headers={"Authorization": "Bearer wrong"}).status_code == 401
        store.headers["Authorization"] = f"Bearer {opened.settings['OVCHAT_STORE_KEY']}"
        whole = store.get(manifest)
        assert whole.json()["model"] == MODEL
        part = store.get(manifest, headers={"Range": "bytes=10-"})
        assert (part.status_code, part.content) == (206, whole.content[10:])
        assert store.head(manifest).headers["content-length"] == str(len(whole.content))
        for path in ("/", f"/{MODEL}/", f"/{MODEL}/int4/", "/.staging/", f"/{MODEL}/int4/../../.staging/x"):
            assert store.get(path).status_code == 404, path
        for method in ("PUT", "DELETE", "POST"):
            assert store.request(method, manifest).status_code in (403, 405), method
    logs = opened.run("logs", "--no-color", "store").stdout
    assert "store_read" in logs
    assert opened.settings["OVCHAT_STORE_KEY"] not in logs


async def test_a_worker_of_another_host_answers_once_the_platforms_own_is_stopped(
    opened: ComposeProject, client: PlatformClient, worker_host: ComposeProject
) -> None:
    worker_host.bring_up(timeout_seconds=90)
    assert HOST_ID in {worker["host_id"] for worker in client.get("/api/v1/workers")["data"]}
    opened.run("stop", "inference-cpu")
    try:
        began = time.monotonic()
        answer = await client.chat(MODEL, "What is the capital of France?", request_id="other-host")
        opened.durations["first chat of another host, with fetching"] = time.monotonic() - began
    finally:
        opened.run("start", "inference-cpu")
    assert "Paris" in answer.text
    hosts = {worker["worker_id"]: worker["host_id"] for worker in client.get("/api/v1/workers")["data"]}
    assert hosts[answer.worker_id] == HOST_ID
    assert "variant_fetched" in worker_host.logs()
    assert worker_host.execute("inference-cpu", "test", "-r", f"/models/{MODEL}/int4/manifest.json").returncode == 0


def test_a_worker_that_believes_another_certificate_says_so(worker_host: ComposeProject, tmp_path: Path) -> None:
    worker_host.settings["TLS_DIR"] = str(tmp_path / "other")
    worker_host.script("certificate", "platform.example.org")
    worker_host.run("up", "--detach")
    deadline = time.monotonic() + 60
    while "is not believed" not in (log := worker_host.logs()):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)
    assert "OVCHAT_CA_FILE" in log
