"""``ovchat models compare``: a model's variants side by side, as a table and as bars."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import fail, told_failures
from gateway.client.invocation import ovchat

if TYPE_CHECKING:
    from gateway.client.http_client import ModelRecord


def compare(
    model: Annotated[str, typer.Argument(help="As `ovchat models` lists it, without a variant.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a model's variants: size, speed, and how near each comes to fp16 on fixed texts.

    "smaller" is how often a variant's weights go into those of fp16.
    "as fp16" is the share of tokens where the variant finds the same next token the most likely; KL is the mean
    divergence from fp16 in nats; "ppl" is the perplexity divided by that of fp16. Load time and speed are those of the
    converter's CPU with one chat. Cards are made in the background after a conversion.
    """
    with told_failures():
        asyncio.run(_compare(model, json_=json_))


async def _compare(name: str, *, json_: bool) -> None:
    from gateway.client.comparison import bar_lines, heading_lines, problem_lines, table_rows
    from gateway.client.session import http_client
    from gateway.client.table import print_json_list, print_table

    async with http_client() as client:
        model = _found(await client.models(), name.partition(":")[0])
    if json_:
        print_json_list(model.variants)
        return
    headings, rows = table_rows(model.variants)
    print("\n".join(heading_lines(model.variants)))
    print_table(headings, rows, empty="no variants")
    print("\n".join([*bar_lines(model.variants), *problem_lines(model.variants)]))


def _found(models: list[ModelRecord], name: str) -> ModelRecord:
    named = (model for model in models if name in (model.model, *(record.source_model for record in model.variants)))
    found = next(named, None)
    if found is None:
        fail(f"no model {name!r} is published; `{ovchat('models')}` lists them")
    return found
