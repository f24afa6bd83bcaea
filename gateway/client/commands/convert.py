"""``ovchat convert``: ask for a conversion and, where wanted, watch it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import told_failures
from gateway.client.invocation import ovchat
from gateway.client.recipe_options import calibration_dataset, variant_wishes
from gateway.client.submission import submit_and_follow

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
        job = submit_and_follow(
            lambda client: client.submit_conversion(request),
            in_options=_in_options,
            follow=follow or log,
            log=log,
            json_=json_,
        )
        raise typer.Exit(asyncio.run(job))


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


def _in_options(error: PlatformError) -> str:
    """Say the interface's complaint in the words of the command line."""
    message = error.message.replace("`name`", "--name").replace("source_model", "MODEL")
    if error.param == "variants" and error.code == "variant_exists":
        message += f" NAME=int4 in --variants names another; `{ovchat('delete MODEL:VARIANT')}` deletes one."
    return message
