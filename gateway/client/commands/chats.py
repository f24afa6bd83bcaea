"""``ovchat chats``: the stored chats."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.client.exits import told_failures
from gateway.client.invocation import ovchat

app = typer.Typer(help="List your chats, show one, export one, delete one.", invoke_without_command=True)

ChatId = Annotated[str, typer.Argument(help="As `ovchat chats` lists it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Form(StrEnum):
    """What a chat is exported as."""

    MARKDOWN = "markdown"
    JSON = "json"


@app.callback()
def list_chats(
    context: typer.Context,
    search: Annotated[str, typer.Option("--search", help="Only those with this in the title.")] = "",
    json_: Json = False,
) -> None:
    """List your chats, the newest first."""
    if context.invoked_subcommand is None:
        with told_failures():
            asyncio.run(_list(search, json_=json_))


@app.command("show")
def show(chat_id: ChatId, json_: Json = False) -> None:
    """Print a chat's newest branch; `--json` prints the whole tree."""
    with told_failures():
        asyncio.run(_show(chat_id, json_=json_))


@app.command("export")
def export(
    chat_id: ChatId,
    form: Annotated[Form, typer.Option("--format", help="How it is written.")] = Form.MARKDOWN,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; standard output where not given.")
    ] = None,
) -> None:
    """Write a chat's newest branch as Markdown or JSON."""
    with told_failures():
        content = asyncio.run(_exported(chat_id, form))
        if output is None:
            # As it is, byte for byte: what a model wrote may not be in the terminal's encoding.
            sys.stdout.buffer.write(content)
        else:
            _write(output, content)


@app.command("delete")
def delete(chat_id: ChatId) -> None:
    """Delete a chat with all its messages."""
    with told_failures():
        asyncio.run(_delete(chat_id))


async def _list(search: str, *, json_: bool) -> None:
    from datetime import UTC, datetime

    from gateway.client.session import http_client
    from gateway.client.table import print_list
    from gateway.client.terminal import printable

    async with http_client() as client:
        found = [chat async for chat in client.chats(search)]
    print_list(
        found,
        ("chat", "title", "model", "last turn"),
        lambda chat: (
            chat.chat_id,
            printable(chat.title),
            chat.model or "",
            datetime.fromtimestamp(chat.updated_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        ),
        empty=f"no chats; `{ovchat('chat MODEL')}` begins one",
        json_=json_,
    )


async def _show(chat_id: str, *, json_: bool) -> None:
    from gateway.client.session import http_client
    from gateway.client.terminal import printable

    async with http_client() as client:
        if json_:
            print((await client.chat(chat_id)).model_dump_json())
        else:
            print(printable((await client.export_chat(chat_id, Form.MARKDOWN)).decode()), end="")


async def _exported(chat_id: str, form: Form) -> bytes:
    from gateway.client.session import http_client

    async with http_client() as client:
        return await client.export_chat(chat_id, form)


def _write(output: Path, content: bytes) -> None:
    from shared.errors import InvalidRequest

    try:
        output.write_bytes(content)
    except OSError as error:
        raise InvalidRequest(f"cannot write {output}: {error.strerror}") from error


async def _delete(chat_id: str) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        await client.delete_chat(chat_id)
    print(f"chat {chat_id} is deleted")
