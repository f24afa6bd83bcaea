"""``ovchat convert``: ask for a conversion and, where wanted, watch it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import FAILURE, INTERRUPTED, fail, told_failures
from gateway.client.invocation import ovchat
from gateway.client.recipe_options import calibration_dataset, variant_wishes

if TYPE_CHECKING:
    from shared.errors import PlatformError
    from shared.schemas.conversion import ConversionRequest


def convert(
    model: Annotated[
        str, typer.Argument(help="Hub id, catalogue name, or folder or GGUF file on the converter's host.")
    ],
    variants: Annotated[
        str, typer.Option(help="Comma-separated: fp16, int8, int4, or NAME=int4 for a name of your own.")
    ] = "int4",
    name: Annotated[str | None, typer.Option(help="Public name; the last part of MODEL where not given.")] = None,
    sym: Annotated[
        bool | None, typer.Option("--sym/--asym", help="Symmetric or asymmetric weights (int4 and int8).")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Channels per scale of int4; -1 is one scale per channel.")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the layers in 4 bits, the rest in 8 (int4).")
    ] = None,
    awq: Annotated[
        bool, typer.Option("--awq", help="Scale weights by their activations first (int4, named int4-awq).")
    ] = False,
    scale_estimation: Annotated[
        bool, typer.Option("--scale-estimation", help="Choose scales by what layers put out (int4).")
    ] = False,
    gptq: Annotated[bool, typer.Option("--gptq", help="Correct weights for the errors of others (int4).")] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|wikitext2",
            help="Texts whose activations are looked at: a file with a paragraph each, a .json list of strings, or a "
            "set of the hub.",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=1024, help="How many of the texts are taken; 128 where not given.")
    ] = None,
    backup_precision: Annotated[
        str | None, typer.Option(help="int8_asym, int8_sym or none: of the layers that are not in 4 bits (int4).")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Layers that stay as they are, as in '*.layers.0.mlp.*'; may be given more than once."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the source.")] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Let the source's own Python code run in the converter, with all that the converter may do.",
        ),
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --follow: print what the stages print, too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Convert a Hugging Face model to OpenVINO, or join the same conversion that runs already.

    Without --follow the command returns as soon as the job is accepted. Ctrl-C while following leaves the job running.
    """
    with told_failures():
        recipe = {
            "sym": sym,
            "group_size": group_size,
            "ratio": ratio,
            "awq": awq or None,
            "scale_estimation": scale_estimation or None,
            "gptq": gptq or None,
            "dataset": calibration_dataset(calibration),
            "samples": samples,
            "backup_precision": backup_precision,
            "ignored_layers": ignore or None,
        }
        request = _request(model, variant_wishes(variants, recipe), name, revision, trust_remote_code)
        raise typer.Exit(asyncio.run(_convert(request, follow=follow or log, log=log, json_=json_)))


def _request(
    model: str, variants: list[object], name: str | None, revision: str | None, trust_remote_code: bool
) -> ConversionRequest:
    from shared.schemas.conversion import ConversionRequest

    return ConversionRequest.model_validate(
        {
            "source_model": model,
            "name": name,
            "variants": variants,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
        }
    )


async def _convert(request: ConversionRequest, *, follow: bool, log: bool, json_: bool) -> int:
    from gateway.client.session import http_client
    from shared.errors import PlatformError

    async with http_client() as client:
        try:
            job = await client.submit_conversion(request)
        except PlatformError as error:
            fail(_in_options(error))
        conversion_id = job.conversion_id
        if not follow:
            if json_:
                print(job.model_dump_json())
            else:
                print(f"{'joined' if job.joined else 'accepted'}: conversion {conversion_id}")
                print(f"watch it with `{ovchat(f'conversions follow {conversion_id}')}`")
            return 0
        return await follow_to_the_end(conversion_id, json_=json_, log=log)


def _in_options(error: PlatformError) -> str:
    """Say the interface's complaint in the words of the command line."""
    message = error.message.replace("`name`", "--name").replace("source_model", "MODEL")
    if error.param == "variants" and error.code == "variant_exists":
        message += f" NAME=int4 in --variants names another; `{ovchat('delete MODEL:VARIANT')}` deletes one."
    return message


async def follow_to_the_end(conversion_id: str, *, json_: bool, log: bool = False) -> int:
    """Show a job until it ends; return the exit code of the command."""
    from rich.console import Console

    from gateway.client.conversion_progress import result_lines, show_progress
    from gateway.client.session import http_client

    console = Console(stderr=True) if json_ else Console()
    async with http_client() as client:
        try:
            job = await client.conversion(conversion_id)
            await show_progress(client.conversion_events(conversion_id), job.plan.model, console, log=log)
            job = await client.conversion(conversion_id)
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
    if job.state != "succeeded":
        print(
            f"ovchat: the conversion {_how_it_ended(job.state, job.error.message if job.error else None)}",
            file=sys.stderr,
        )
    return 0 if job.state == "succeeded" else FAILURE


def _how_it_ended(state: str, message: str | None) -> str:
    return f"{state}: {message}" if message else f"was {state}" if state == "cancelled" else state
