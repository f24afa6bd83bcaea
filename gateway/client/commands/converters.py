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
    from gateway.client.table import print_list

    async with http_client() as client:
        found = await client.converters()
    print_list(
        found,
        ("converter", "host", "stages/slots", "memory", "free now", "disk free"),
        lambda info: (
            info.worker_id,
            info.host,
            f"{info.busy}/{info.slots}",
            gigabytes(info.memory_bytes),
            gigabytes(info.free_bytes),
            gigabytes(info.disk_free_bytes),
        ),
        empty="no converter is registered",
        json_=json_,
    )
