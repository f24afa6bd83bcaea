"""``ovchat keys``: make keys for users, list them, change their limits, end them, forget a user."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import USAGE, fail, told_failures

if TYPE_CHECKING:
    from shared.schemas.users import KeyLimits

app = typer.Typer(help="Users' keys: list, create, limit, revoke; erase a user.", invoke_without_command=True)

#: A number, or the word for the gateway's own setting.
Limit = str | None
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


@app.command("limit", no_args_is_help=True)
def limit(
    key_id: Annotated[str, typer.Argument(help="As `ovchat keys` lists it.")],
    max_concurrent: Annotated[Limit, typer.Option(help="Generations at once.")] = None,
    requests_per_minute: Annotated[Limit, typer.Option(help="Generations a minute.")] = None,
    tokens_per_day: Annotated[Limit, typer.Option(help="Tokens a day.")] = None,
    weight: Annotated[float | None, typer.Option(help="Share of a full pool beside other users' shares.")] = None,
    json_: Json = False,
) -> None:
    """Change a key's limits, within a second: a number, 0 for no limit, or `default`; what is not named stays."""
    named = {
        "max_concurrent": max_concurrent,
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
    }
    limits: dict[str, object] = {name: _number(value) for name, value in named.items() if value is not None}
    if weight is not None:
        limits["weight"] = weight
    if not limits:
        fail("name a limit to change", code=USAGE)
    with told_failures():
        asyncio.run(_limit(key_id, limits, json_=json_))


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
    from gateway.client.table import print_list

    async with http_client() as client:
        found = await client.keys()
    print_list(
        found,
        ("key", "user", "role", "name", "limits", "last used", ""),
        lambda record: (
            record.key_id,
            record.user,
            record.role,
            record.name,
            _told(record.limits),
            record.last_used_day or "",
            "revoked" * record.revoked,
        ),
        empty="no keys",
        json_=json_,
    )


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


async def _limit(key_id: str, limits: dict[str, object], *, json_: bool) -> None:
    from gateway.client.session import http_client
    from shared.schemas.users import KeyChange

    change = KeyChange.model_validate({"limits": limits})
    async with http_client() as client:
        record = await client.change_key(key_id, change)
    print(record.model_dump_json() if json_ else f"key {key_id}: {_told(record.limits) or 'the default limits'}")


def _number(value: str) -> int | None:
    """Return a limit as the interface takes it; None is the default."""
    if value == "default":
        return None
    if not value.isdecimal():
        fail(f"a limit is a number or `default`, not {value!r}", code=USAGE)
    return int(value)


def _told(limits: KeyLimits) -> str:
    """Return what a key changes in its user's limits; nothing where all are the default."""
    units = (
        (limits.max_concurrent, "at once"),
        (limits.requests_per_minute, "a minute"),
        (limits.tokens_per_day, "tokens a day"),
    )
    told = [f"{amount or 'unlimited'} {unit}" for amount, unit in units if amount is not None]
    return ", ".join([*told, f"weight {limits.weight:g}"] if limits.weight != 1 else told)


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
