"""Lists on standard output: a table for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under headings, or one line where there are none."""
    if not rows:
        print(empty)
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
    console = Console()
    # A pipe is as wide as its lines, or columns would break at 80 for `grep`.
    console.print(table) if console.is_terminal else Console(width=250).print(table)


def print_json_list(items: Sequence[BaseModel]) -> None:
    """Print a JSON list of the interface's own objects."""
    print("[" + ",\n ".join(item.model_dump_json() for item in items) + "]")
