"""One concern a module: small files on the whole, and none that nobody can hold in the head."""

from __future__ import annotations

import statistics

from tests.architecture.sources import PRODUCT_FOLDERS, ROOT, python_files

MOST_LINES = 400
MEDIAN_LINES = 100


def _lines() -> dict[str, int]:
    files = python_files(*PRODUCT_FOLDERS, "tests")
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}


def test_no_module_is_too_long() -> None:
    assert {name: lines for name, lines in _lines().items() if lines > MOST_LINES} == {}


def test_the_median_module_is_short() -> None:
    assert statistics.median(_lines().values()) < MEDIAN_LINES


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "managers"}
    files = python_files(*PRODUCT_FOLDERS)
    assert [str(path.relative_to(ROOT)) for path in files if vague & set(path.stem.split("_"))] == []
