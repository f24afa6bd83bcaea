"""The platform as `deploy/compose.yaml` makes it, driven as an operator would: by docker-compose and docker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
#: An image's build is the longest single step: torch is unpacked and compiled to byte code.
COMMAND_SECONDS = 1200


@dataclass(frozen=True)
class Process:
    """One process of a container, as the host sees it."""

    container: str
    uid: int
    command: str


@dataclass
class ComposeProject:
    """One project of its own name, settings and port; nothing of another project is touched.

    Attributes:
        settings: what an operator would write into deploy/.env.
        durations: seconds of each step, for the summary.
    """

    name: str
    settings: dict[str, str]
    env_file: Path
    durations: dict[str, float] = field(default_factory=dict)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker-compose with this project's file, name and settings; its output is in a failure's message."""
        return _run([*self.command(), *arguments], check=check)

    def command(self) -> list[str]:
        """Return how docker-compose is called for this project; its settings are written for it."""
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        command = [*_compose_command(), "--file", str(COMPOSE_FILE), "--env-file", str(self.env_file)]
        return [*command, "--project-name", self.name]

    def script(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/bin for this project."""
        settings = {"COMPOSE": " ".join(self.command()), **self.settings}
        return _run([str(ROOT / "deploy" / "bin" / name), *arguments], check=check, settings=settings)

    def timed(self, step: str, *arguments: str) -> None:
        """Run docker-compose and note how long it took."""
        began = time.monotonic()
        self.run(*arguments)
        self.durations[step] = time.monotonic() - began

    def execute(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside of a service's first container, as the service's own user."""
        return self.run("exec", "-T", service, *command, check=check)

    def containers(self, service: str = "") -> list[str]:
        """List the ids of the running containers, of all services or of one."""
        return self.run("ps", "--quiet", *([service] if service else [])).stdout.split()

    def health(self) -> list[tuple[str, str]]:
        """Return each container's service with its health, or its state where it has no health check."""
        service = '{{index .Config.Labels "com.docker.compose.service"}}'
        health = "{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}"
        containers = self.containers()
        if not containers:
            return []
        lines = _run(["docker", "inspect", "--format", f"{service} {health}", *containers]).stdout.splitlines()
        return sorted((name, state) for name, state in (line.split() for line in lines))

    def wait_until_healthy(self, containers: int, *, timeout_seconds: float) -> None:
        """Wait until so many containers run and every one of them says that it is healthy."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            health = self.health()
            if len(health) == containers and {state for _, state in health} == {"healthy"}:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not healthy after {timeout_seconds:.0f} s: {health}\n{self.logs(tail=40)}")
            time.sleep(1)

    def processes(self) -> list[Process]:
        """List every process of every container."""
        found = []
        for container in self.containers():
            lines = _run(["docker", "top", container, "-eo", "uid,pid,args"]).stdout.splitlines()[1:]
            columns = (line.split(maxsplit=2) for line in lines)
            found += [Process(container, int(uid), command) for uid, _, command in columns]
        return found

    def image_sizes(self) -> dict[str, int]:
        """Return the bytes of each image that the running containers use."""
        template = "{{.Config.Image}}"
        names = set(_run(["docker", "inspect", "--format", template, *self.containers()]).stdout.split())
        return {
            name: int(_run(["docker", "image", "inspect", "--format", "{{.Size}}", name]).stdout)
            for name in sorted(names)
        }

    def logs(self, *, tail: int | None = None) -> str:
        """Return what the containers wrote."""
        return self.run("logs", "--no-color", f"--tail={tail or 'all'}", check=False).stdout

    def gateways_asked(self, path: str = "") -> list[str]:
        """Return the gateways' addresses of the proxied requests, of all or of one path, in the order of their ends."""
        lines = self.run("logs", "--no-color", "--tail=all", "proxy").stdout.splitlines()
        entries = (json.loads(line[line.index("{") :]) for line in lines if '"request_proxied"' in line)
        # Where one did not answer, the addresses that were asked are separated by commas: the last one did.
        return [entry["gateway"].split(", ")[-1] for entry in entries if path in ("", entry["path"])]

    def kill_one(self, service: str) -> None:
        """End one container of a service as a crash would; the engine does not start it again."""
        _run(["docker", "kill", self.containers(service)[0]])

    def down(self) -> None:
        """Remove the containers, networks and volumes; the images stay, so that the next build is short."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "30")


def stand_in_images() -> None:
    """Have the engine's script make images in the place of Redis' and nginx' own where no registry can be reached."""
    engine = str(ROOT / "deploy" / "bin" / "docker-engine")
    _run([engine, "standin", "redis:7-bookworm", "redis-server"])
    _run([engine, "standin", "nginx:1.28-bookworm", "nginx", "curl"])


def collect_wheels() -> None:
    """Put the wheels that this machine keeps where the converter's build finds them."""
    _run([str(ROOT / "deploy" / "bin" / "wheels")])


def _compose_command() -> Sequence[str]:
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


def _run(
    command: list[str], *, check: bool = True, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # The classic builder, unless the caller wants BuildKit: docker-compose 1.29 has no other on a bare machine.
    environment = {"DOCKER_BUILDKIT": "0", **os.environ, **(settings or {})}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if check and done.returncode != 0:
        end = (done.stdout + done.stderr)[-6000:]
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{end}")
    return done
