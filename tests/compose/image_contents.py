"""What is inside of an image: its files, those of every layer below, its history and its configuration."""

from __future__ import annotations

import json
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.compose.compose_project import ComposeProject, docker

_FORMAT = r"%m\t%U\t%y\t%p\n"


@dataclass(frozen=True)
class File:
    """One file of an image; the mode has the setuid, setgid and sticky bits before the permissions."""

    mode: int
    uid: int
    kind: str
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class ImageContents:
    """One image by its name or id; every property asks the engine."""

    name: str

    def configuration(self) -> dict[str, Any]:
        """Return what the engine says of it: `Config`, `Size`, `RootFS`."""
        configuration: dict[str, Any] = json.loads(docker("image", "inspect", self.name))[0]
        return configuration

    def files(self) -> list[File]:
        """List what a container of it sees, as root so that nothing is hidden."""
        lines = self.execute("find", "/", "-xdev", "-printf", _FORMAT, as_root=True).splitlines()
        fields = (line.split("\t") for line in lines)
        return [File(int(mode, 8), int(uid), kind, path) for mode, uid, kind, path in fields]

    def history(self) -> str:
        """Return the commands that made its layers, in full."""
        return docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", self.name)

    def names_of_all_layers(self) -> set[str]:
        """Return every path of every layer, also of what a later layer deleted."""
        names: set[str] = set()
        with (
            subprocess.Popen(["docker", "save", self.name], stdout=subprocess.PIPE) as saved,
            tarfile.open(fileobj=saved.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                # Beside layers there are descriptions, which are no archives.
                with suppress(tarfile.ReadError), tarfile.open(fileobj=content, mode="r|") as layer:
                    names.update(layer.getnames())
        return names

    def execute(self, *command: str, as_root: bool = False) -> str:
        """Run one command in a container of it that is then gone, and return what it printed."""
        user = ["--user", "0"] if as_root else []
        options = ["--rm", "--network", "none", "--read-only", *user, "--entrypoint", command[0]]
        return docker("run", *options, self.name, *command[1:])


def contents_of(project: ComposeProject, service: str) -> ImageContents:
    """Return the image that a service's first container runs."""
    return ImageContents(project.inspect("{{.Image}}", project.containers(service)[0])[0])
