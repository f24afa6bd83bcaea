"""``ovchat models gc`` and ``ovchat models verify``: what takes space in the store, and whether its files are whole."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import FAILURE, fail, told_failures
from gateway.client.invocation import ovchat

if TYPE_CHECKING:
    from gateway.client.http_client import HttpClient
    from shared.schemas.store import StoreRun

_POLL_SECONDS = 0.3
#: After so many looks the command says what it waits for.
_PATIENT_LOOKS = 10


def gc(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove what is found; else it is only listed.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what takes space and nobody needs: left-overs of dead conversions, downloads, folders that are no variant.

    What a running conversion uses is never touched, nor is a published variant.
    """
    with told_failures():
        asyncio.run(_gc(free=yes, json_=json_))


def verify(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL[:VARIANT]]", help="Everything published where not given.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare every file of the published variants with the hashes of the day they were published."""
    with told_failures():
        raise typer.Exit(asyncio.run(_verify(model, json_=json_)))


async def _gc(*, free: bool, json_: bool) -> None:
    from gateway.client.figures import megabytes
    from gateway.client.session import http_client
    from gateway.client.table import print_table

    async with http_client() as client:
        run = await _ended(client, await client.collect_leftovers(free=free))
    if json_:
        print(run.model_dump_json())
        return
    rows = [
        (item.kind, item.name, megabytes(item.size_bytes), item.state, item.reason)
        for item in sorted(run.leftovers, key=lambda item: -item.size_bytes)
    ]
    print_table(("what", "name", "size", "", "why"), rows, empty="nothing is left over")
    if free:
        print(f"{megabytes(run.freed_bytes)} freed")
    elif run.found_bytes:
        print(f"{megabytes(run.found_bytes)} can be freed; `{ovchat('models gc --yes')}` does it")


async def _verify(model: str | None, *, json_: bool) -> int:
    from gateway.client.session import http_client
    from gateway.client.table import print_table

    async with http_client() as client:
        run = await _ended(client, await client.verify_variants(model))
    corrupt = [check for check in run.checks if check.problem]
    if json_:
        print(run.model_dump_json())
    elif model and not run.checks:
        fail(f"nothing is published as {model}; `{ovchat('models')}` lists what is")
    else:
        rows = [(f"{check.model}:{check.variant}", check.problem or "whole") for check in run.checks]
        print_table(("model", "files"), rows, empty="nothing is published yet")
    for check in corrupt:
        again = ovchat(f"models delete {check.model}:{check.variant} --force")
        print(f"ovchat: {check.model}:{check.variant} is corrupt; `{again}`, then convert it again", file=sys.stderr)
    return FAILURE if corrupt else 0


async def _ended(client: HttpClient, run: StoreRun) -> StoreRun:
    looks = 0
    while run.state in ("queued", "running"):
        if looks == _PATIENT_LOOKS and run.state == "queued":
            print("waiting for a converter worker: one has to run, and its running stage comes first", file=sys.stderr)
        looks += 1
        await asyncio.sleep(_POLL_SECONDS)
        run = await client.store_run(run.run_id)
    if run.error is not None:
        fail(run.error.message)
    return run
