"""``ovchat conversions``: see the jobs, follow one, cancel one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import told_failures

if TYPE_CHECKING:
    from shared.schemas.conversion import ConversionJob

app = typer.Typer(help="List conversions, follow one, cancel one.", invoke_without_command=True)

ConversionId = Annotated[str, typer.Argument(help="As `ovchat convert` printed it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def list_conversions(context: typer.Context, json_: Json = False) -> None:
    """List the conversions that are remembered."""
    if context.invoked_subcommand is None:
        with told_failures():
            asyncio.run(_list(json_=json_))


@app.command("follow")
def follow(
    conversion_id: ConversionId,
    log_: Annotated[bool, typer.Option("--log", help="Print what the stages print, too.")] = False,
    json_: Json = False,
) -> None:
    """Show a conversion's progress until it ends; Ctrl-C leaves it running."""
    from gateway.client.submission import follow_to_the_end

    with told_failures():
        raise typer.Exit(asyncio.run(follow_to_the_end(conversion_id, json_=json_, log=log_)))


@app.command("log")
def log(conversion_id: ConversionId) -> None:
    """Print what the conversion's stages printed, as they print it, until it ends; Ctrl-C leaves it running."""
    with told_failures():
        asyncio.run(_log(conversion_id))


@app.command("cancel")
def cancel(conversion_id: ConversionId, json_: Json = False) -> None:
    """End a conversion; what it had not published is thrown away."""
    with told_failures():
        asyncio.run(_cancel(conversion_id, json_=json_))


async def _list(*, json_: bool) -> None:
    from gateway.client.conversion_text import duration, foretold, moment
    from gateway.client.session import http_client
    from gateway.client.table import print_list

    async with http_client() as client:
        jobs = await client.conversions()
    print_list(
        jobs,
        ("conversion", "model", "variants", "user", "asked", "time", "foretold / measured", "state", ""),
        lambda job: (
            job.conversion_id,
            job.plan.model,
            ", ".join(variant.name for variant in job.plan.variants),
            job.user or "",
            moment(job.created_ms),
            duration(job),
            foretold(job),
            job.state,
            _remark(job),
        ),
        empty="no conversions yet",
        json_=json_,
    )


def _remark(job: ConversionJob) -> str:
    if job.error:
        return job.error.message
    return job.waiting or (f"{job.stage or ''} {job.progress:.0%}".strip() if job.state == "running" else "")


async def _log(conversion_id: str) -> None:
    from gateway.client.conversion_text import log_lines
    from gateway.client.session import http_client

    async with http_client() as client:
        async for event in client.conversion_events(conversion_id):
            for line in log_lines(event):
                print(line, flush=True)


async def _cancel(conversion_id: str, *, json_: bool) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        job = await client.cancel_conversion(conversion_id)
    print(job.model_dump_json() if json_ else f"conversion {conversion_id}: {_cancelled(job)}")


def _cancelled(job: ConversionJob) -> str:
    if job.state == "cancelled":
        return "cancelled"
    if job.ended_ms is not None:
        return f"had ended already, state {job.state}"
    return f"cancellation asked, state {job.state}"
