"""``ovchat models``: what can be chatted with, and how its engine is configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.commands import compare, delete, engine, import_, measure, store
from gateway.client.exits import told_failures
from gateway.client.invocation import ovchat

if TYPE_CHECKING:
    from shared.catalog import CatalogEntry

app = typer.Typer(
    help="List the published models, compare their variants, configure their engines.", invoke_without_command=True
)
app.command("compare", no_args_is_help=True)(compare.compare)
app.command("measure", no_args_is_help=True)(measure.measure)
app.command("engine", no_args_is_help=True)(engine.engine)
app.command("import", no_args_is_help=True)(import_.import_)
app.command("delete")(delete.delete)
app.command("gc")(store.gc)
app.command("verify")(store.verify)


@app.callback()
def models(
    context: typer.Context,
    catalog: Annotated[bool, typer.Option("--catalog", help="List what can be converted by name instead.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the published models: variants, sizes, and how near they come to fp16 (`compare` says more)."""
    if context.invoked_subcommand is not None:
        return
    with told_failures():
        asyncio.run(_catalog(json_=json_) if catalog else _models(json_=json_))


async def _models(*, json_: bool) -> None:
    from gateway.client.figures import megabytes, percent, rate, speed
    from gateway.client.session import http_client
    from gateway.client.table import print_json_list, print_table

    async with http_client() as client:
        found = await client.models()
    if json_:
        print_json_list(found)
        return
    rows = [
        (
            variant.key,
            "default" if variant.variant == model.default_variant else "",
            megabytes(variant.weights_bytes),
            rate(variant.compression_rate),
            percent(variant.quality.top1_agreement if variant.quality else None),
            speed(variant.quality.tokens_per_second if variant.quality else None),
            f"{variant.context_length:,}",
            variant.source_model,
        )
        for model in found
        for variant in model.variants
    ]
    headings = ("model", "", "weights", "smaller", "as fp16", "tok/s", "context", "source")
    print_table(headings, rows, empty=f"no models yet; `{ovchat('convert MODEL --follow')}` makes one")


def _marks(entry: CatalogEntry) -> list[str]:
    """What to know before a conversion is asked for; the stack where it is not the one that all have."""
    from shared.catalog.stacks import load_stacks
    from shared.errors import FamilyNotExported

    stacks = load_stacks()
    try:
        stack = stacks.choose(entry.family)
        needs = [] if stack == stacks.default else [f"needs:{stack}"]
    except FamilyNotExported:
        needs = ["not-exported"]
    return [*("gated",) * entry.gated, *("remote-code",) * entry.trust_remote_code, *needs]


async def _catalog(*, json_: bool) -> None:
    from gateway.client.session import http_client
    from gateway.client.table import print_list

    async with http_client() as client:
        entries = await client.catalog()
    print_list(
        entries,
        ("name", "languages", "source", "licence", ""),
        lambda entry: (
            entry.id,
            ", ".join(entry.languages),
            entry.source_model,
            entry.licence or "",
            " ".join(_marks(entry)),
        ),
        empty="the catalogue is empty",
        json_=json_,
    )
