"""``ovchat converters``: who converts, and how large a model they can take."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import told_failures


def converters(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the converters with the memory and the disk that a conversion could have."""
    with told_failures():
        asyncio.run(_converters(json_=json_))


async def _converters(*, json_: bool) -> None:
    from gateway.client.figures import gigabytes
    from gateway.client.session import http_client
    from gateway.client.table import print_json_list, print_table

    async with http_client() as client:
        found = await client.converters()
    if json_:
        print_json_list(found)
        return
    rows = [
        (
            info.worker_id,
            info.host,
            f"{info.busy}/{info.slots}",
            gigabytes(info.memory_bytes),
            gigabytes(info.free_bytes),
            gigabytes(info.disk_free_bytes),
        )
        for info in found
    ]
    headings = ("converter", "host", "stages/slots", "memory", "free now", "disk free")
    print_table(headings, rows, empty="no converter is registered")
