"""``ovchat default``: what a model's name alone stands for."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import USAGE, fail, told_failures


def default(
    name: Annotated[str, typer.Argument(metavar="MODEL:VARIANT", help="As `ovchat models` lists it.")],
    reset: Annotated[bool, typer.Option("--reset", help="MODEL alone: let the platform choose again.")] = False,
) -> None:
    """Choose the variant that a model's name alone stands for, from the next question on."""
    model, _, variant = name.partition(":")
    if reset == bool(variant) or not model:
        fail("name a MODEL:VARIANT, or a MODEL with --reset", code=USAGE)
    with told_failures():
        asyncio.run(_default(model, variant or None))


async def _default(model: str, variant: str | None) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        print(f"{model} is {model}:{await client.choose_default(model, variant)}")
