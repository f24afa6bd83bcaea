"""What the repository must not contain: addresses, paths of one machine, sleeps, swallowed errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import PRODUCT_FOLDERS, ROOT, python_files, repository_files, syntax_tree

TOP_LEVEL_FOLDERS = {"gateway", "converter_worker", "inference_worker", "shared", "deploy", "tests", ".ci"}
LOCK_FILES = [ROOT / "requirements.lock", *sorted((ROOT / "deploy" / "locks").glob("*.lock"))]
# A letter in brackets, so that this file does not find itself.
REGISTRY_HOSTS = re.compile(r"py[p]i\.org|python[h]osted|npm[j]s\.|deb\.[d]ebian\.org|download\.[p]ytorch")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:w[o]rk|r[o]ot)/|/opt/(?:w[h]eels|p[y]pi)|/h[o]me/[a-z]+/")
# The sample engine sleeps where a model would compute: that time is what it imitates.
MAY_SLEEP = {ROOT / "inference_worker" / "engines" / "sample.py"}


def _texts() -> list[tuple[str, str]]:
    texts: list[tuple[str, str]] = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:
            texts.append((str(path.relative_to(ROOT)), content.decode("utf-8")))
    return texts


def _matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number} {line.strip()[:80]}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def _pins(lock: Path) -> list[str]:
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def _calls(path: Path, name: str) -> list[str]:
    calls = [node for node in ast.walk(syntax_tree(path)) if isinstance(node, ast.Call)]
    return [f"{path.relative_to(ROOT)}:{call.lineno}" for call in calls if ast.unparse(call.func) == name]


def test_no_file_names_a_package_registry() -> None:
    assert _matches(REGISTRY_HOSTS) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert _matches(MACHINE_PATHS) == []


def test_the_top_level_has_the_agreed_folders_only() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in repository_files() if path.parent != ROOT}
    assert folders - TOP_LEVEL_FOLDERS == set()


@pytest.mark.parametrize("lock", LOCK_FILES, ids=lambda path: path.name)
def test_a_lock_file_is_pins_and_comments(lock: Path) -> None:
    assert _pins(lock) != []
    assert [line for line in _pins(lock) if not re.match(r"[a-z0-9][a-z0-9._-]*==[^/:@]+( ; [^/:@]+)?$", line)] == []


def test_an_image_gets_the_versions_that_are_tested() -> None:
    """Each image's lock file only chooses among the lines of the one that the tests run with."""
    images = [lock for lock in LOCK_FILES[1:] if not lock.stem.startswith("stack-")]
    assert [lock.stem for lock in images] == ["converter", "flower", "gateway", "inference"]
    tested = {line.split(" ;")[0] for line in _pins(LOCK_FILES[0])}
    strays = [line for lock in images for line in _pins(lock) if line.split(" ;")[0] not in tested]
    assert strays == []


def test_product_code_does_not_sleep_on_a_thread() -> None:
    files = [path for path in python_files(*PRODUCT_FOLDERS) if path not in MAY_SLEEP]
    assert [call for path in files for call in _calls(path, "time.sleep")] == []


def test_no_error_is_caught_without_being_named() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*PRODUCT_FOLDERS, "tests")
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []
