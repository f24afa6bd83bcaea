"""``ovchat models import``: publish ready-made OpenVINO IR without a conversion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import told_failures
from gateway.client.submission import submit_and_follow

if TYPE_CHECKING:
    from shared.errors import PlatformError


def import_(
    source: Annotated[
        str,
        typer.Argument(help="Hub id such as OpenVINO/…-int4-ov, or folder of OpenVINO IR on the converter's host."),
    ],
    name: Annotated[
        str | None, typer.Option(help="Public name; the last part of SOURCE, without such as -int4-ov, if not given.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Name of the variant; the source's or its weight format if not given.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the source.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Verify ready-made OpenVINO IR and publish it as it is; the job is one of `ovchat conversions`."""
    with told_failures():
        from shared.schemas.conversion import ImportRequest

        request = ImportRequest(source_model=source, name=name, variant=variant, revision=revision)
        job = submit_and_follow(
            lambda client: client.submit_import(request), in_options=_in_options, follow=follow, json_=json_
        )
        raise typer.Exit(asyncio.run(job))


def _in_options(error: PlatformError) -> str:
    return error.message.replace("`name`", "--name").replace("source_model", "SOURCE")
