"""What `make families` has seen, kept in ``results.json`` between runs, which may be of one family each."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.catalog.stacks import load_stacks
from tests.families.shapes import Shape

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results.json"
EXACT = "exact"
#: What may change an answer. Of the code only what makes files and tokens: all else would make every result old.
_PACKAGES = ("openvino", "openvino-genai", "nncf", "optimum-intel", "torch")
_SOURCES = (
    "converter_worker/stages/*.py",
    "inference_worker/engines/*.py",
    "tests/families/*_stage.py",
    "tests/families/greedy.py",
)


class Outcome(BaseModel):
    """One shape's result; `verdicts` by variant are `EXACT` or what was wrong, `failure` is why there are none.

    `stack` made the files and the reference, `engine` served them. `fingerprint` is of what the result depends on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str = ""
    engine: str = ""
    verdicts: dict[str, str] = {}
    failure: str | None = None
    fingerprint: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether all variants answered as they should."""
        return self.failure is None and set(self.verdicts.values()) == {EXACT}


_OUTCOMES: TypeAdapter[dict[str, Outcome]] = TypeAdapter(dict[str, Outcome])


def fingerprint(shape: Shape) -> str:
    """Return a digest of what a shape's result depends on."""
    digest = hashlib.sha256(shape.model_dump_json().encode())
    for package in _PACKAGES:
        digest.update(f"{package}=={version(package)}\n".encode())
    for stack in load_stacks().stacks:
        if shape.family in stack.model_types:
            digest.update(f"{stack.name}\n".encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def package_versions() -> dict[str, str]:
    """Return the versions of the libraries that all stacks share."""
    return {package: version(package).partition("+")[0] for package in _PACKAGES}


def read_results() -> dict[str, Outcome]:
    """Return the kept results by the shapes' slugs."""
    return _OUTCOMES.validate_json(RESULTS.read_bytes()) if RESULTS.is_file() else {}


def write_results(outcomes: Mapping[str, Outcome]) -> None:
    """Keep results, in the order of their slugs."""
    content = _OUTCOMES.dump_python(dict(sorted(outcomes.items())), mode="json", exclude_defaults=True)
    RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
