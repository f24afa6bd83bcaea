"""``ovchat delete``: take a published variant out of the store."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import USAGE, fail, told_failures


def delete(
    key: Annotated[str, typer.Argument(metavar="MODEL:VARIANT", help="As `ovchat models` lists it.")],
    force: Annotated[bool, typer.Option("--force", help="Also where a worker has it loaded.")] = False,
) -> None:
    """Delete a published variant. There is no way back but another conversion."""
    model, _, variant = key.rpartition(":")
    if not model or not variant:
        fail(f"{key!r} names no variant; one looks like smollm2-135m-instruct:int4", code=USAGE)
    with told_failures():
        asyncio.run(_delete(model, variant, force=force))


async def _delete(model: str, variant: str, *, force: bool) -> None:
    from gateway.client.session import http_client
    from shared.errors import Conflict

    async with http_client() as client:
        try:
            await client.delete_variant(model, variant, force=force)
        except Conflict as error:
            message = error.message.replace("Add ?force=true", "Add --force")
            fail(message)
    print(f"{model}:{variant} is being deleted")
