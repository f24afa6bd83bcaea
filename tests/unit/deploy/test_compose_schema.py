"""Every Compose file of deploy/, all profiles, against the Compose specification's schema, as Compose v2 reads it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs
from jsonschema import Draft202012Validator

DEPLOY = Path(__file__).parents[3] / "deploy"
SPECIFICATION = Path(__file__).parent / "compose_specification"
FILES = sorted(path.name for path in DEPLOY.glob("compose*.yaml"))
SCHEMA = Draft202012Validator(json.loads((SPECIFICATION / "compose-spec.json").read_text("utf-8")))


def _as_read(text: str) -> Any:
    """Parse a file as it is where only what has no default is set: what Compose checks."""
    return _filled_in(yaml.safe_load(text))


def _filled_in(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _filled_in(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_filled_in(value) for value in found]
    if not isinstance(found, str) or "${" not in found:
        return found
    value = re.sub(r"\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}", lambda m: m[3] if m[2] == ":-" else "set", found)
    # A number is one.
    return int(value) if value.isdecimal() else value


def _complaints(document: Any) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in SCHEMA.iter_errors(document)]


def test_the_schema_is_the_published_one() -> None:
    content = (SPECIFICATION / "compose-spec.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (SPECIFICATION / "README.md").read_text("utf-8")
    Draft202012Validator.check_schema(json.loads(content))


@pytest.mark.parametrize("name", FILES)
def test_a_file_keeps_the_specification(name: str) -> None:
    assert _complaints(_as_read((DEPLOY / name).read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("cap_drop:", "cap_dorp:"),
        ("condition: service_healthy", "condition: healthy"),
        ("init: true", "init: [true]"),
        ("internal: true", "internl: true"),
        ("stop_grace_period: 30s", "stop_grace_period: 30"),
    ],
)
def test_a_mistake_is_found(right: str, wrong: str) -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert right in text
    assert _complaints(_as_read(text.replace(right, wrong, 1))) != []
