"""A conversion's job on the command line: asked for and, where wanted, shown until it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.client.exits import FAILURE, INTERRUPTED, fail
from gateway.client.invocation import ovchat

if TYPE_CHECKING:
    from gateway.client.http_client import HttpClient, SubmittedJob
    from shared.errors import PlatformError


async def submit_and_follow(
    submit: Callable[[HttpClient], Awaitable[SubmittedJob]],
    *,
    in_options: Callable[[PlatformError], str],
    follow: bool,
    log: bool = False,
    json_: bool,
) -> int:
    """Have a job accepted and say how to watch it, or show it; return the exit code of the command.

    `in_options` says a refusal in the words of the command.
    """
    from gateway.client.session import http_client
    from shared.errors import PlatformError

    async with http_client() as client:
        try:
            job = await submit(client)
        except PlatformError as error:
            fail(in_options(error))
    if job.waiting:
        print(f"conversion {job.conversion_id} is {job.waiting}", file=sys.stderr)
    if follow:
        return await follow_to_the_end(job.conversion_id, json_=json_, log=log)
    if json_:
        print(job.model_dump_json())
    else:
        print(f"{'joined' if job.joined else 'accepted'}: conversion {job.conversion_id}")
        print(f"watch it with `{ovchat(f'conversions follow {job.conversion_id}')}`")
    return 0


async def follow_to_the_end(conversion_id: str, *, json_: bool, log: bool = False) -> int:
    """Show a job until it ends; return the exit code of the command."""
    from rich.console import Console

    from gateway.client.conversion_progress import result_lines, show_progress
    from gateway.client.session import http_client

    console = Console(stderr=True) if json_ else Console()
    async with http_client() as client:
        try:
            job = await client.conversion(conversion_id)
            default = await _default_variant(client, job.plan.model)
            await show_progress(client.conversion_events(conversion_id), job.plan.model, console, log=log)
            job = await client.conversion(conversion_id)
            new_default = await _default_variant(client, job.plan.model)
        except asyncio.CancelledError:
            print(
                f"\nconversion {conversion_id} goes on; `{ovchat(f'conversions follow {conversion_id}')}` shows it, "
                f"`{ovchat(f'conversions cancel {conversion_id}')}` ends it",
                file=sys.stderr,
            )
            # Ctrl-C arrives as a cancellation, which the runner turns into KeyboardInterrupt unless it is handled here.
            return INTERRUPTED
    if json_:
        print(job.model_dump_json())
    elif job.state == "succeeded":
        print("\n".join(result_lines(job)))
        if new_default not in (None, default):
            model, choose = job.plan.model, ovchat("default MODEL:VARIANT")
            print(f"{model} alone means {model}:{new_default} now; `{choose}` chooses another")
    if job.state != "succeeded":
        print(
            f"ovchat: the conversion {_how_it_ended(job.state, job.error.message if job.error else None)}",
            file=sys.stderr,
        )
    return 0 if job.state == "succeeded" else FAILURE


async def _default_variant(client: HttpClient, model: str) -> str | None:
    """Return which variant a model's name alone means; None where none is published."""
    return next((found.default_variant for found in await client.models() if found.model == model), None)


def _how_it_ended(state: str, message: str | None) -> str:
    return f"{state}: {message}" if message else f"was {state}" if state == "cancelled" else state
