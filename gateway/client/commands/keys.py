"""``ovchat keys``: make keys for users, list them, end them, forget a user."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from gateway.client.exits import fail, told_failures

app = typer.Typer(help="Users' keys: list, create, revoke; erase a user.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def list_keys(context: typer.Context, json_: Json = False) -> None:
    """List the keys, revoked ones included."""
    if context.invoked_subcommand is None:
        with told_failures():
            asyncio.run(_list(json_=json_))


@app.command("create")
def create(
    user: Annotated[str, typer.Argument(help="Whose key it is; a user begins to exist with the first one.")],
    role: Annotated[str, typer.Option(help="user, or admin: converts, deletes, sees the pool, makes keys.")] = "user",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    max_concurrent: Annotated[int | None, typer.Option(help="Generations at once; 0 is unlimited.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Generations a minute; 0 is unlimited.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens a day; 0 is unlimited.")] = None,
    weight: Annotated[float, typer.Option(help="Share of a full pool beside other users' shares.")] = 1.0,
    json_: Json = False,
) -> None:
    """Make a key and print it: this once."""
    limits = {
        "max_concurrent": max_concurrent,
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
        "weight": weight,
    }
    with told_failures():
        asyncio.run(_create({"user": user, "role": role, "name": name, "limits": limits}, json_=json_))


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="As `ovchat keys` lists it.")]) -> None:
    """End a key: within a second it opens nothing."""
    with told_failures():
        asyncio.run(_revoke(key_id))


@app.command("erase-user")
def erase_user(
    user: Annotated[str, typer.Argument(help="As `ovchat keys` lists them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a user: keys, sessions, chats and usage. There is no way back."""
    with told_failures():
        if not yes and not typer.confirm(f"Erase {user} with all chats?"):
            raise typer.Exit(1)
        asyncio.run(_erase_user(user))


@app.command("first")
def first() -> None:
    """Show the first admin's key, which the gateway on this machine made at its first start: this once."""
    with told_failures():
        asyncio.run(_first())


async def _list(*, json_: bool) -> None:
    from gateway.client.session import http_client
    from gateway.client.table import print_json_list, print_table

    async with http_client() as client:
        found = await client.keys()
    if json_:
        print_json_list(found)
        return
    rows = [
        (record.key_id, record.user, record.role, record.name, record.last_used_day or "", "revoked" * record.revoked)
        for record in found
    ]
    print_table(("key", "user", "role", "name", "last used", ""), rows, empty="no keys")


async def _create(fields: dict[str, object], *, json_: bool) -> None:
    from gateway.client.session import http_client
    from shared.schemas.users import NewKey

    wish = NewKey.model_validate(fields)
    async with http_client() as client:
        created = await client.create_key(wish)
    if json_:
        print(created.model_dump_json())
        return
    # The key alone on standard output, for scripts.
    print(created.key)
    print(f"{created.role} {created.user}, {created.key_id}; the key is not shown again", file=sys.stderr)


async def _revoke(key_id: str) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        await client.revoke_key(key_id)
    print(f"key {key_id}: revoked")


async def _erase_user(user: str) -> None:
    from gateway.client.session import http_client

    async with http_client() as client:
        await client.erase_user(user)
    print(f"user {user}: erased")


async def _first() -> None:
    from gateway.client.address import address_of, key_of
    from gateway.client.http_client import HttpClient
    from gateway.client.session import client_settings
    from shared.errors import InvalidApiKey, Unavailable

    settings = client_settings()
    if settings.admin_key is not None:
        fail("the first key is the one of OVCHAT_ADMIN_KEY; none was made")
    key_file = settings.data_dir / "admin.key"
    key = key_of(settings.model_copy(update={"api_key": None}))
    try:
        async with HttpClient(address_of(settings).url, key) as client:
            await client.check_key()
    except InvalidApiKey:
        fail(f"the key in {key_file} opens nothing: it was revoked, or another gateway made the first key")
    except Unavailable:
        # A gateway that is down has made its key before.
        pass
    marker = key_file.with_name(f"{key_file.name}.shown")
    try:
        marker.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        fail(f"the first key was shown before; whoever may read {key_file} finds it there")
    print(key)
