"""The platform as `deploy/compose.yaml` makes it, driven as an operator would: by docker-compose and docker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
#: What runs without a profile.
SERVICES = ("redis", "proxy", "gateway", "converter", "inference-cpu")
#: An image's build is the longest single step: torch is unpacked and compiled to byte code.
COMMAND_SECONDS = 1200


@dataclass(frozen=True)
class Process:
    """One process of a container, as the host sees it."""

    container: str
    uid: int
    command: str


@dataclass(frozen=True)
class Image:
    """What a container was made from; `revision` is the image's label."""

    name: str
    revision: str


@dataclass
class ComposeProject:
    """One project of its own name, settings and port; nothing of another project is touched.

    Attributes:
        settings: what an operator would write into deploy/.env.
        scales: how many containers of each service are to run.
        files: the compose files, each beside the ones before it.
        durations: seconds of each step, for the summary.
        figures: what else a test found out, for the summary.
    """

    name: str
    settings: dict[str, str]
    env_file: Path
    scales: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 1))
    files: tuple[Path, ...] = (COMPOSE_FILE,)
    durations: dict[str, float] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker-compose with this project's file, name and settings; its output is in a failure's message."""
        return _run([*self.command(), *arguments], check=check)

    def command(self) -> list[str]:
        """Return how docker-compose is called for this project; its settings are written for it."""
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        files = [argument for file in self.files for argument in ("--file", str(file))]
        return [*_compose_command(), *files, "--env-file", str(self.env_file), "--project-name", self.name]

    def script(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/bin for this project."""
        settings = {"COMPOSE": " ".join(self.command()), **self.settings}
        return _run([str(ROOT / "deploy" / "bin" / name), *arguments], check=check, settings=settings)

    def bring_up(self, *, timeout_seconds: float = 180, recreate: bool = False, **scales: int) -> None:
        """Start what is missing of every service and wait until so many are healthy.

        Args:
            timeout_seconds: longest time that it may take.
            recreate: make containers anew whose settings have changed.
            scales: changed numbers of containers, with `_` for `-` in a service's name.
        """
        self.scales |= {service.replace("_", "-"): count for service, count in scales.items()}
        options = (f"--scale={service}={count}" for service, count in self.scales.items())
        self.run("up", "--detach", *([] if recreate else ["--no-recreate"]), *options, *self.scales)
        deadline = time.monotonic() + timeout_seconds
        while not self.is_whole():
            assert time.monotonic() < deadline, f"not healthy: {self.health()}\n{self.logs(tail=40)}"
            time.sleep(1)

    def is_whole(self) -> bool:
        """Tell whether as many containers of each service are healthy as are to run."""
        healthy = Counter(service for service, state in self.health() if state == "healthy")
        return all(healthy[service] == count for service, count in self.scales.items())

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
        lines = self.inspect(f"{service} {health}", *self.containers())
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
        names = set(self.inspect("{{.Config.Image}}", *self.containers()))
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

    def images(self, service: str) -> list[Image]:
        """Return the image of each running container of a service."""
        template = '{{.Config.Image}} {{index .Config.Labels "org.opencontainers.image.revision"}}'
        lines = (line.partition(" ") for line in self.inspect(template, *self.containers(service)))
        return [Image(name, revision) for name, _, revision in lines]

    def kill(self, container: str) -> None:
        """End a container by `docker kill`; the engine does not start it again."""
        _run(["docker", "kill", "--signal=KILL", container])

    def start(self, container: str) -> None:
        """Start a container that was killed."""
        _run(["docker", "start", container])

    def crash(self, container: str) -> None:
        """End a container's first process, and the others with it, as a crash would; the engine starts it again."""
        [before] = self.inspect("{{.State.Pid}}", container)
        assert int(before) > 1, f"{container} does not run"
        os.kill(int(before), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.inspect("{{.State.Pid}}", container)[0] in ("0", before):
            assert time.monotonic() < deadline, f"{container} is not started again"
            time.sleep(0.1)

    def published(self) -> dict[str, set[str]]:
        """Return the addresses of this host that services with published ports listen on."""
        template = '{{index .Config.Labels "com.docker.compose.service"}} {{json .HostConfig.PortBindings}}'
        lines = (line.partition(" ") for line in self.inspect(template, *self.containers()))
        found = [(service, json.loads(bindings) or {}) for service, _, bindings in lines]
        return {
            service: {binding["HostIp"] for bound in bindings.values() for binding in bound}
            for service, bindings in found
            if bindings
        }

    def addresses(self, service: str) -> list[str]:
        """Return the addresses of a service's containers inside of the project."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return [address for line in self.inspect(template, *self.containers(service)) for address in line.split()]

    def inspect(self, template: str, *containers: str) -> list[str]:
        """Return what the engine tells of each container."""
        return _run(["docker", "inspect", "--format", template, *containers]).stdout.splitlines() if containers else []

    def down(self) -> None:
        """Remove the containers, networks and volumes; the images stay, so that the next build is short."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "30")


def docker(*arguments: str) -> str:
    """Run docker and return what it printed."""
    return _run(["docker", *arguments]).stdout


def stand_in_images() -> None:
    """Have images in the place of Redis' and nginx' own where no registry can be reached."""
    stand_in("redis:7-bookworm", "redis-server")
    stand_in("nginx:1.28-bookworm", "nginx", "curl")


def stand_in(image: str, *packages: str) -> None:
    """Have the engine's script make an image of Debian's packages where the official one cannot be pulled."""
    _run([str(ROOT / "deploy" / "bin" / "docker-engine"), "standin", image, *packages])


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
