"""``ovchat models measure``: have a variant's quality card made, anew where there is one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import told_failures
from gateway.client.invocation import ovchat
from gateway.client.variant_name import variant_parts


def measure(
    variant: Annotated[str, typer.Argument(metavar="MODEL:VARIANT", help="As `ovchat models` lists it.")],
) -> None:
    """Have a variant compared with fp16 again, as after a change of the host: when nothing is converted."""
    with told_failures():
        asyncio.run(_measure(*variant_parts(variant)))


async def _measure(model: str, variant: str) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        await client.measure_variant(model, variant)
    print(f"{model}:{variant} will be measured; `{ovchat(f'models compare {model}')}` shows it")
