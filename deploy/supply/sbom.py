"""`make sbom`: a bill of materials (CycloneDX 1.6, JSON) for each image, from its lock files.

It lists the Python packages. What the base image brings is in the base image's own.
"""

from __future__ import annotations

import argparse
import tomllib
import uuid
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.supply.licences import licences
from deploy.supply.pins import IMAGES, ROOT, Pin, image_pins, installed, lock_files


def bill_of_materials(image: str) -> Bom:
    """Make the bill of one image; equal lock files have equal serial numbers.

    Raises:
        LookupError: a pinned package is not installed here, so that nothing is known of it.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    whole = Component(
        type=ComponentType.CONTAINER,
        name=f"ovchat/{image}",
        version=project["version"],
        bom_ref=f"ovchat/{image}",
        licenses=[LicenseFactory().make_with_id(project["license"])],
    )
    content = b"".join(lock.read_bytes() for lock in lock_files(image))
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"ovchat/{image}/{project['version']}/{content.hex()}")
    components = {pin: _component(pin) for pin in image_pins(image)}
    bom = Bom(serial_number=serial, metadata=BomMetaData(component=whole), components=components.values())
    bom.register_dependency(whole, components.values())
    for pin, component in components.items():
        bom.register_dependency(component, (components[need] for need in _needs(pin, components)))
    return bom


def write(image: str, folder: Path) -> Path:
    """Write an image's bill into a folder and return the file."""
    file = folder / f"{image}.cdx.json"
    file.write_text(JsonV1Dot6(bill_of_materials(image)).output_as_string(indent=1) + "\n", "utf-8")
    return file


def _component(pin: Pin) -> Component:
    distribution = installed(pin)
    metadata = distribution.metadata
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        bom_ref="/".join(filter(None, (pin.stack, f"{pin.name}@{pin.version}"))),
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        description=next(iter(metadata.get_all("Summary") or []), None),
        licenses=_as_stated(licences(distribution)),
        properties=[Property(name="ovchat:stack", value=pin.stack)] if pin.stack else [],
    )


def _as_stated(found: tuple[str, ...]) -> list[License]:
    made: list[License] = [LicenseFactory().make_from_string(licence) for licence in found]
    # The format takes one expression or a list of single licences; only the second can be several.
    return made if len(made) < 2 else [each for each in made if isinstance(each, DisjunctiveLicense)]


def _needs(pin: Pin, among: dict[Pin, Component]) -> list[Pin]:
    """List the pins that a package asks for; a version stack's own come before those of the base environment."""
    names = {
        canonicalize_name(need.name)
        for need in map(Requirement, installed(pin).requires or [])
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    nearest = {other.name: other for other in among if other.stack in ("", pin.stack)}
    nearest |= {other.name: other for other in among if pin.stack and other.stack == pin.stack}
    return [nearest[name] for name in sorted(names & nearest.keys())]


def main() -> None:
    """Write every image's bill and tell where."""
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "sbom", help="where the files go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        file = write(image, folder)
        print(f"{file}: {len(image_pins(image))} packages")


if __name__ == "__main__":
    main()
