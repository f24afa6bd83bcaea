"""What the images install: licences that let it be passed on, wheels only, and bills of materials that tell it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.supply.licences import is_permitted, licences
from deploy.supply.pins import IMAGES, LOCKS, ROOT, image_pins, installed, pins
from deploy.supply.sbom import write


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_carries_permitted_licences_only(image: str) -> None:
    found = {pin: licences(installed(pin)) for pin in image_pins(image)}
    assert {pin: names for pin, names in found.items() if not names or not all(map(is_permitted, names))} == {}


@pytest.mark.parametrize(
    ("licence", "permitted"),
    [
        ("MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("LGPL-2.1-or-later", False),
        ("Apache-2.0 WITH Classpath-exception-2.0", False),
        ("Ask our lawyers", False),
        ("", False),
    ],
)
def test_of_a_choice_one_licence_is_enough_and_what_is_not_known_is_not_permitted(
    licence: str, permitted: bool
) -> None:
    assert is_permitted(licence) is permitted


@pytest.mark.parametrize("image", IMAGES)
def test_a_bill_of_materials_lists_what_is_locked_with_licences_and_what_needs_what(image: str, tmp_path: Path) -> None:
    text = write(image, tmp_path).read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert sorted(component["purl"] for component in bill["components"]) == sorted(
        f"pkg:pypi/{pin.name}@{pin.version}" for pin in image_pins(image)
    )
    assert [component["name"] for component in bill["components"] if not component.get("licenses")] == []
    [whole] = [entry for entry in bill["dependencies"] if entry["ref"] == bill["metadata"]["component"]["bom-ref"]]
    assert len(whole["dependsOn"]) == len(bill["components"])


def test_a_version_stack_needs_its_own_packages_first(tmp_path: Path) -> None:
    bill = json.loads(write("converter", tmp_path).read_text("utf-8"))
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    for lock in LOCKS.glob("stack-*.lock"):
        versions = {pin.name: pin for pin in pins(lock)}
        transformers = versions["transformers"]
        found = needs[f"{transformers.stack}/transformers@{transformers.version}"]
        for name, pin in versions.items():
            base = [ref for ref in found if ref.startswith(f"{name}@")]
            assert base == [], f"{lock.name}: {name} is told from the base environment"
            if name == "tokenizers":
                assert f"{pin.stack}/{name}@{pin.version}" in found


def test_no_image_compiles_a_package() -> None:
    """Without wheels only, an install runs the code of every package's build, and needs a compiler."""
    files = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
    lines = [line for file in files for line in file.read_text("utf-8").replace("\\\n", " ").splitlines()]
    installs = [line for line in lines if re.search(r"uv pip install|^RUN .*bin/stacks", line)]
    assert len(installs) == len(IMAGES) + 1
    assert [line for line in installs if "--no-build" not in line] == []
