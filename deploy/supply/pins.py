"""The lock files as data: what an image installs, and what an installed package says of itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
IMAGES = ("gateway", "converter", "inference", "flower")
#: The platform that images are made for, whatever this one is.
IMAGE_PYTHON = "3.11.14"


@dataclass(frozen=True)
class Pin:
    """One package at one version.

    Attributes:
        stack: the version stack that it belongs to; empty in an image's own environment.
    """

    name: str
    version: str
    stack: str = ""


def lock_files(image: str) -> list[Path]:
    """List what an image is installed from: its own lock file first, then those of its version stacks."""
    stacks = sorted(LOCKS.glob("stack-*.lock")) if image == "converter" else []
    return [LOCKS / f"{image}.lock", *stacks]


def pins(lock: Path, *, python: str = IMAGE_PYTHON) -> list[Pin]:
    """List the packages of a lock file that are installed on Linux by a Python of this full version."""
    environment: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    stack = lock.stem.removeprefix("stack-") if lock.stem.startswith("stack-") else ""
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and line.lstrip()[0] != "#"]
    return [
        Pin(canonicalize_name(need.name), str(need.specifier).removeprefix("=="), stack)
        for need in map(Requirement, lines)
        if need.marker is None or need.marker.evaluate(environment)
    ]


def image_pins(image: str) -> list[Pin]:
    """List everything that an image installs."""
    return [pin for lock in lock_files(image) for pin in pins(lock)]


@functools.cache
def installed(pin: Pin) -> Distribution:
    """Find the pinned package in this environment, which `make env` makes from the same pins.

    Raises:
        LookupError: it is not here at this version.
    """
    folder = ROOT / ".venv" / "stacks" / pin.stack
    found = distributions(name=pin.name, path=[str(folder)]) if pin.stack else distributions(name=pin.name)
    for distribution in found:
        # torch 2.13.0 is there as 2.13.0+cpu.
        if Version(distribution.version).public == pin.version:
            return distribution
    raise LookupError(f"{pin.name} {pin.version} is not installed here: `make env` takes it from the lock file")
