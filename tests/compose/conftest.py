"""The platform of `deploy/compose.yaml`, brought up once for this folder and taken down whatever happens."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.compose.compose_project import ROOT, ComposeProject, collect_wheels, stand_in_images
from tests.compose.platform_client import MODEL, SOURCE_MODEL, PlatformClient

LOG_FILE = ROOT / ".cache" / "compose" / "compose.log"
PROJECT = pytest.StashKey[ComposeProject]()
SIZES = pytest.StashKey[dict[str, int]]()
#: What is looked at as it was started comes first, what wipes it last; files that are not named come between.
FIRST, LAST = ("test_services.py", "test_chats.py", "test_scaling.py"), ("test_secrets.py", "test_lasting.py")


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compose: needs a container engine and root; run by `make compose-test` only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == ROOT / "tests" / "compose":
            item.add_marker(pytest.mark.compose)
            # The test that is first waits for the images.
            item.add_marker(pytest.mark.timeout(1800))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.path.name in FIRST:
        return FIRST.index(item.path.name) - len(FIRST)
    return LAST.index(item.path.name) + 1 if item.path.name in LAST else 0


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    """The running project: one container a service, all healthy. Its log is kept when a test failed."""
    port = free_port()
    settings = {
        "FLOWER_PASSWORD": secrets.token_hex(24),
        "FLOWER_PORT": str(free_port()),
        "IMAGE_TAG": "compose-test",
        # Shorter than most answers under load: what a stopping worker has goes on at another one.
        "OVCHAT_DRAIN_GRACE_SECONDS": "5",
        "OVCHAT_KV_CACHE_BYTES": str(1 << 30),
        "OVCHAT_METRICS_KEY": secrets.token_hex(24),
        "OVCHAT_PORT": str(port),
        "OVCHAT_PRELOAD_MODELS": f"{MODEL}:int4",
        "OVCHAT_REDIS_PASSWORD": secrets.token_hex(24),
    }
    project = ComposeProject(f"ovchat-test-{port}", settings, tmp_path_factory.mktemp("compose") / "env")
    request.config.stash[PROJECT] = project
    LOG_FILE.unlink(missing_ok=True)
    stand_in_images()
    collect_wheels()
    project.timed("build of the images", "build")
    try:
        began = time.monotonic()
        project.bring_up()
        project.durations["up until healthy"] = time.monotonic() - began
        request.config.stash[SIZES] = project.image_sizes()
        yield project
    finally:
        if request.session.testsfailed or SIZES not in request.config.stash:
            LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
            LOG_FILE.write_text(project.logs())
        project.timed("down", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def client(project: ComposeProject) -> Iterator[PlatformClient]:
    """A client with the key that the gateway made at its first start."""
    key = project.execute("gateway", "cat", "/data/admin.key").stdout.strip()
    with closing(PlatformClient(int(project.settings["OVCHAT_PORT"]), key)) as client:
        yield client


@pytest.fixture(scope="session")
def converted(project: ComposeProject, client: PlatformClient) -> dict[str, object]:
    """The job that converted the demo model to int4, from the package in the converter's image: no hub is asked."""
    began = time.monotonic()
    job = client.convert(SOURCE_MODEL, ["int4"], timeout_seconds=600)
    project.durations["conversion to int4"] = time.monotonic() - began
    assert job["state"] == "succeeded", job
    return job


@pytest.fixture
def scaled(project: ComposeProject, client: PlatformClient, converted: dict[str, object]) -> ComposeProject:
    """The project with two gateways and three workers that serve the demo model."""
    project.bring_up(gateway=2, inference_cpu=3)
    client.wait_for_replicas(MODEL, "int4", 3)
    return project


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if PROJECT not in config.stash:
        return
    terminalreporter.section("figures")
    for name, size in config.stash.get(SIZES, {}).items():
        terminalreporter.line(f"{name}: {size / 1e6:.0f} MB")
    for step, seconds in config.stash[PROJECT].durations.items():
        terminalreporter.line(f"{step}: {seconds:.0f} s")
    for what, found in config.stash[PROJECT].figures.items():
        terminalreporter.line(f"{what}: {found}")
    if LOG_FILE.exists():
        terminalreporter.line(f"the containers' log: {LOG_FILE.relative_to(ROOT)}")
