"""The README's settings table is the code's."""

from __future__ import annotations

from shared.settings import PREFIX, known_names
from tests.architecture.settings_table import SECTION, settings_table


def test_the_readme_lists_the_settings_as_they_are() -> None:
    remedy = "regenerate it: .venv/bin/python -m tests.architecture.settings_table"
    assert SECTION.read() == settings_table(), remedy


def test_no_setting_is_left_out_or_undescribed() -> None:
    rows = [[cell.strip() for cell in row.split(" | ")] for row in settings_table().splitlines()[2:]]
    assert {row[0].strip("|` ") for row in rows} == known_names()
    assert [row[0] for row in rows if not row[3].rstrip("| ")] == []
    assert all(row[0].startswith(f"| `{PREFIX}") for row in rows)
