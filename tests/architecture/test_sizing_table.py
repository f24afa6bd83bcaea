"""The operations document's sizing table is the code's estimate."""

from __future__ import annotations

from tests.architecture.sizing_table import SECTION, sizing_table


def test_the_document_sizes_models_as_workers_do() -> None:
    remedy = "regenerate it: .venv/bin/python -m tests.architecture.sizing_table"
    assert SECTION.read() == sizing_table(), remedy
