"""``ovchat models import``: publish ready-made OpenVINO IR without a conversion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.commands.convert import follow_to_the_end
from gateway.client.exits import fail, told_failures
from gateway.client.invocation import ovchat

if TYPE_CHECKING:
    from shared.schemas.conversion import ImportRequest


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
        raise typer.Exit(asyncio.run(_import(request, follow=follow, json_=json_)))


async def _import(request: ImportRequest, *, follow: bool, json_: bool) -> int:
    from gateway.client.session import http_client
    from shared.errors import PlatformError

    async with http_client() as client:
        try:
            job = await client.submit_import(request)
        except PlatformError as error:
            fail(error.message.replace("`name`", "--name").replace("source_model", "SOURCE"))
    if follow:
        return await follow_to_the_end(job.conversion_id, json_=json_)
    if json_:
        print(job.model_dump_json())
    else:
        print(f"{'joined' if job.joined else 'accepted'}: conversion {job.conversion_id}")
        print(f"watch it with `{ovchat(f'conversions follow {job.conversion_id}')}`")
    return 0
