"""``ovchat replicas``: what is loaded where, and what should be."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import USAGE, fail, told_failures
from gateway.client.variant_name import variant_parts

app = typer.Typer(help="See, load, end and keep replicas: loaded variants of a model.", no_args_is_help=True)

_Variant = Annotated[str, typer.Argument(metavar="MODEL:VARIANT", help="As `ovchat models` lists it.")]
_Worker = Annotated[str | None, typer.Option("--worker", help="Id of the worker; the one with most room if not given.")]


@app.command("list")
def list_(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List every replica of every worker."""
    with told_failures():
        asyncio.run(_list(json_=json_))


@app.command()
def load(variant: _Variant, worker: _Worker = None) -> None:
    """Load a variant now, before anybody asks for it."""
    with told_failures():
        asyncio.run(_load(variant, worker))


@app.command()
def unload(
    variant: _Variant,
    worker: Annotated[
        str | None, typer.Option("--worker", help="Id of the worker; needed where several have it loaded.")
    ] = None,
) -> None:
    """End a replica once it is idle."""
    with told_failures():
        asyncio.run(_unload(*variant_parts(variant), worker))


@app.command()
def keep(
    variant: _Variant,
    replicas: Annotated[int, typer.Option("--replicas", min=0, help="Workers that keep it loaded.")] = 0,
    pin: Annotated[bool, typer.Option("--pin", help="Never end it to make room or for being idle.")] = False,
) -> None:
    """Keep a variant loaded on so many workers, or pin it where it is; without options, take both back."""
    with told_failures():
        asyncio.run(_keep(*variant_parts(variant), replicas=replicas, pin=pin))


@app.command()
def drain(worker: Annotated[str, typer.Argument(metavar="WORKER", help="Id of the worker.")]) -> None:
    """Let a worker take nothing new and finish what it has."""
    with told_failures():
        asyncio.run(_drain(worker))


async def _list(*, json_: bool) -> None:
    from gateway.client.figures import megabytes
    from gateway.client.session import http_client
    from gateway.client.table import print_json_list, print_table

    async with http_client() as client:
        found = await client.workers()
    if json_:
        print_json_list([replica for worker in found for replica in worker.replicas])
        return
    rows = [
        (
            replica.key + " (pinned)" * replica.pinned,
            worker.worker_id,
            worker.device,
            replica.state,
            f"{replica.running}/{replica.slots}",
            megabytes(replica.memory_bytes or 0),
            megabytes(replica.reserved_bytes),
            f"{replica.idle_seconds:.0f} s",
        )
        for worker in found
        for replica in worker.replicas
    ]
    headings = ("variant", "worker", "device", "state", "running/slots", "memory", "reserved", "idle")
    print_table(headings, rows, empty="nothing is loaded")


async def _load(variant: str, worker: str | None) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        print(f"{variant} is being loaded by {await client.load_replica(variant, worker)}")


async def _unload(model: str, variant: str, worker: str | None) -> None:
    from gateway.client.session import http_client

    key = f"{model}:{variant}"
    async with http_client() as client:
        if worker is None:
            found = await client.workers()
            holders = [one.worker_id for one in found if any(replica.key == key for replica in one.replicas)]
            if not holders:
                fail(f"no worker has {key} loaded")
            if len(holders) > 1:
                fail(f"{', '.join(holders)} have {key} loaded; name one with --worker", code=USAGE)
            worker = holders[0]
        await client.unload_replica(worker, model, variant)
    print(f"{key} ends on {worker} once it is idle")


async def _keep(model: str, variant: str, *, replicas: int, pin: bool) -> None:
    from gateway.client.session import http_client
    from shared.schemas.models import Placement

    async with http_client() as client:
        await client.place_variant(model, variant, Placement(replicas=replicas, pinned=pin))
        workers = len(await client.workers())
    wanted = [f"kept loaded on {replicas} worker{'s' * (replicas != 1)}"] * bool(replicas) + ["pinned"] * pin
    print(f"{model}:{variant} is {' and '.join(wanted) or 'loaded when it is asked for'}")
    if replicas > workers:
        print(f"there are {workers} worker{'s' * (workers != 1)} now: the others load it as soon as they are started")


async def _drain(worker: str) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        await client.drain_worker(worker)
    print(f"{worker} takes nothing new")
