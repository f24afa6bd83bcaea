"""The ``ovchat`` command: one module per command in ``commands``, each importing what it needs only when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.client.commands import (
    bench,
    chat,
    chats,
    conversions,
    convert,
    converters,
    default,
    delete,
    doctor,
    keys,
    models,
    replicas,
    tune,
    up,
    usage,
    workers,
)

app = typer.Typer(
    name="ovchat",
    help="A team's own LLM chat on OpenVINO: convert models, see them, chat with them.",
    epilog="The gateway is OVCHAT_URL, or OVCHAT_HOST and OVCHAT_PORT; the key OVCHAT_API_KEY, or the admin's.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"ovchat {version('ovchat')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


app.command("up")(up.up)
app.command("convert")(convert.convert)
app.add_typer(conversions.app, name="conversions")
app.add_typer(models.app, name="models")
app.command("default")(default.default)
app.command("delete")(delete.delete)
app.command("workers")(workers.workers)
app.command("converters")(converters.converters)
app.add_typer(replicas.app, name="replicas")
app.add_typer(keys.app, name="keys")
app.command("usage")(usage.usage)
app.command("chat")(chat.chat)
app.add_typer(chats.app, name="chats")
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("tune")(tune.tune)


def main() -> None:
    """Run the command line; exits with 0, 1 for a failure, 2 for wrong usage, 130 where Ctrl-C ended it."""
    app()
