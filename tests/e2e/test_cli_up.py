"""`ovchat up` with every service as it is, the `sample` engine in the place of a model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.redis_server import free_port
from tests.helpers.services import wait_until

pytestmark = [pytest.mark.connected, pytest.mark.e2e]
OVCHAT = (sys.executable, "-c", "from gateway.client.command_line import main; main()")


class Launcher:
    """`ovchat up` on a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OVCHAT_")}
        self.environment = {
            **kept,
            "OVCHAT_DATA_DIR": str(folder / "data"),
            "OVCHAT_PORT": str(free_port()),
            "OVCHAT_ENGINE": "sample",
            "OVCHAT_DEMO": "false",
        }
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> list[psutil.Process]:
        """Start it, wait until everything is up, and return its services' processes."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*OVCHAT, "up"], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(self._is_up, seconds=60, what="ovchat up")
        return self.services()

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said
        return "Ctrl-C stops everything" in self.said

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8")

    def services(self) -> list[psutil.Process]:
        """Every process below the launcher."""
        assert self.process is not None
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*OVCHAT, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    if launcher.process is not None and launcher.process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.end(signal.SIGTERM)
        launcher.process.kill()
        launcher.process.wait()


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _named(services: list[psutil.Process], name: str) -> psutil.Process:
    return next(found for found in services if any(name in argument for argument in found.cmdline()))


def test_up_brings_everything_up_and_ctrl_c_leaves_nothing(launcher: Launcher) -> None:
    services = launcher.start()
    for name in ("redis-server", "gateway", "converter_worker", "inference_worker"):
        assert _named(services, name).is_running()
    key_file = Path(launcher.environment["OVCHAT_DATA_DIR"]) / "admin.key"
    assert str(key_file) in launcher.said
    # A key must not end in a log: standard output is a file here.
    assert key_file.read_text("utf-8").strip() not in launcher.said
    assert key_file.stat().st_mode & 0o777 == 0o600
    (worker,) = json.loads(launcher.run("workers", "--json").stdout)
    assert (worker["engine"], worker["state"]) == ("sample", "ready")
    assert "✔ port: a gateway of ovchat runs at" in launcher.run("doctor").stdout
    second = launcher.run("up")
    assert (second.returncode, "another ovchat (process" in second.stderr) == (1, True)
    assert launcher.end(signal.SIGINT) == 0
    wait_until(lambda: all(_is_gone(process) for process in services), what="all processes gone")
    stopped = [line for line in launcher.said.splitlines() if line.endswith("stopped")]
    assert stopped == [f"✔ {name} stopped" for name in ("inference worker", "converter worker", "gateway", "redis")]


def test_what_is_kept_outlives_a_killed_launcher(launcher: Launcher) -> None:
    """The accident: after `kill -9` something still holds the port or the data, and the next start fails."""
    services = launcher.start()
    job = json.loads(launcher.run("convert", "not/there", "--json").stdout)
    assert launcher.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: all(_is_gone(process) for process in services), what="all processes gone")
    launcher.start()
    jobs = json.loads(launcher.run("conversions", "--json").stdout)
    assert [found["conversion_id"] for found in jobs] == [job["conversion_id"]]


def test_a_worker_that_dies_is_started_again_and_that_is_said(launcher: Launcher) -> None:
    worker = _named(launcher.start(), "inference_worker")
    began_ms = time.time() * 1000
    worker.kill()

    def another_is_ready() -> bool:
        workers = json.loads(launcher.run("workers", "--json").stdout)
        return any(found["started_ms"] > began_ms and found["state"] == "ready" for found in workers)

    wait_until(another_is_ready, seconds=60, what="another worker")
    assert "inference worker was ended by SIGKILL" in launcher.said
    assert "inference worker is started again in 1 s" in launcher.said


def test_doctor_finds_this_machine_fit_and_names_what_is_wrong(launcher: Launcher) -> None:
    outcome = launcher.run("doctor")
    assert outcome.returncode == 0, outcome.stdout
    assert "✔ Redis: " in outcome.stdout
    assert "✔ converter: version stacks: transformers-4.57.6, transformers-5.5.4" in outcome.stdout
    launcher.environment["OVCHAT_DATA_DIR"] = "/proc/nowhere"
    findings = json.loads(launcher.run("doctor", "--json").stdout)
    assert {finding["subject"] for finding in findings} >= {"Python", "OpenVINO devices", "memory", "disk", "port"}
    (folder,) = [finding for finding in findings if finding["subject"] == "data folder"]
    launcher.environment["OVCHAT_STACKS_DIR"] = "/proc/nowhere"
    assert "deploy/bin/stacks installs all" in launcher.run("doctor").stdout
    launcher.environment["OVCHAT_PROT"] = "1"
    outcome = launcher.run("doctor")
    assert outcome.returncode == 1
    assert "Did you mean OVCHAT_PORT?" in outcome.stdout
    assert folder["seen"].startswith("/proc")
