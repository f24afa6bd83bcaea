"""``ovchat usage``: who used how much."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from gateway.client.exits import told_failures

_DAY = ["%Y-%m-%d"]


def usage(
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Of this user only; others need an admin's key.")
    ] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="First day, UTC.")] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=_DAY, help="Last day, UTC; today by default.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show tokens, generations and conversions per user and day, of 30 days where none are named."""
    with told_failures():
        asyncio.run(_usage(user, first, last, json_=json_))


async def _usage(user: str | None, first: datetime | None, last: datetime | None, *, json_: bool) -> None:
    from gateway.client.session import http_client
    from gateway.client.table import print_list

    async with http_client() as client:
        days = await client.usage(user, first.date() if first else None, last.date() if last else None)
    print_list(
        days,
        ("day (UTC)", "user", "prompt tokens", "cached", "answer tokens", "generations", "conversions"),
        lambda day: (
            day.day.isoformat(),
            day.user,
            f"{day.prompt_tokens:,}",
            "–" if day.cached_tokens is None else f"{day.cached_tokens:,}",
            f"{day.completion_tokens:,}",
            f"{day.generations:,}",
            f"{day.conversions:,}",
        ),
        empty="nothing was used in these days",
        json_=json_,
    )
