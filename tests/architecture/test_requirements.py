"""The lock file answers for pyproject.toml: a dependency added without `make lock` fails here, not on a new machine."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.sources import ROOT


def test_every_declared_dependency_is_locked_at_a_fitting_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [Requirement(line) for line in project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        declared += [Requirement(line) for line in extra]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lock if line and not line.lstrip().startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    unmet = [
        str(need)
        for need in declared
        if (version := versions.get(canonicalize_name(need.name))) is None or not need.specifier.contains(version)
    ]
    assert unmet == []
