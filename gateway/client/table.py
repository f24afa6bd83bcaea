"""Lists on standard output: a table for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

_Item = TypeVar("_Item", bound=BaseModel)


def print_list(
    items: Sequence[_Item],
    headings: Sequence[str],
    row: Callable[[_Item], Sequence[str]],
    *,
    empty: str,
    json_: bool,
) -> None:
    """Print the interface's own objects: a table with a row for each, or a JSON list."""
    if json_:
        print_json_list(items)
    else:
        print_table(headings, [row(item) for item in items], empty=empty)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under headings, or one line where there are none."""
    if not rows:
        print(empty)
        return
    if not sys.stdout.isatty():
        # For `grep` and `cut`: a line per row, as wide as it is.
        print("\n".join(plain_lines(headings, rows)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Text, not markup: a model may be named with brackets.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def plain_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, figures_from: int | None = None
) -> list[str]:
    """Return a table as lines of text; from a column on, figures stand to the right of theirs."""
    lines = [[" ".join(cell.split()) for cell in row] for row in (headings, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    left = len(headings) if figures_from is None else figures_from
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def print_json_list(items: Sequence[BaseModel]) -> None:
    """Print a JSON list of the interface's own objects."""
    print("[" + ",\n ".join(item.model_dump_json() for item in items) + "]")
