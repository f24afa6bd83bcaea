"""``ovchat models engine``: how a variant's engine is configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import USAGE, fail, told_failures
from gateway.client.variant_name import variant_parts

if TYPE_CHECKING:
    from gateway.client.http_client import EngineRecord
    from shared.schemas.engine_config import EngineConfig


def engine(
    variant: Annotated[str, typer.Argument(metavar="MODEL:VARIANT", help="As `ovchat models` lists it.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A field, or a plugin property in capitals; no VALUE unsets it."
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Take back all that was set before.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show or change how a variant's engine is configured, from its next load on.

    Fields are kv_cache_bytes or num_kv_blocks, max_sequences, max_num_batched_tokens, prefix_caching,
    dynamic_split_fuse, draft_model or max_ngram_size, num_assistant_tokens, tuning. What stands in a worker's
    environment is stronger; `ovchat replicas list --json` shows what each replica runs with.
    """
    with told_failures():
        asyncio.run(_engine(*variant_parts(variant), changes=set_ or [], reset=reset, json_=json_))


async def _engine(model: str, variant: str, *, changes: list[str], reset: bool, json_: bool) -> None:
    from gateway.client.session import http_client
    from shared.schemas.engine_config import EngineConfig

    async with http_client() as client:
        found = await client.engine(model, variant)
        if changes or reset:
            base = EngineConfig() if reset else found.config
            found = await client.configure_engine(model, variant, changed(base, changes))
    if json_:
        print(found.model_dump_json(exclude_none=True))
        return
    _print(found, changed=bool(changes or reset))


def changed(config: EngineConfig, changes: list[str]) -> EngineConfig:
    """Return a configuration with ``KEY=VALUE`` changes; names in capitals are plugin properties."""
    from shared.schemas.engine_config import EngineConfig

    values = config.model_dump(exclude_none=True, exclude={"properties"})
    properties = dict(config.properties)
    for change in changes:
        key, sign, value = (part.strip() for part in change.partition("="))
        if not key or not sign:
            fail(f"{change!r} is no KEY=VALUE", code=USAGE)
        if not value:
            properties.pop(key, None)
            values.pop(key, None)
        elif key.isupper():
            properties[key] = value
        else:
            values[key] = _typed(value)
    return EngineConfig.model_validate({**values, "properties": properties})


def _typed(value: str) -> bool | int | str:
    flag = {"true": True, "false": False}.get(value.lower())
    if flag is not None:
        return flag
    return int(value) if value.isdecimal() else value


def _print(found: EngineRecord, *, changed: bool) -> None:
    from gateway.client.table import print_table

    rows = [(name, str(value)) for name, value in found.config.values().items()]
    print_table(("configured", "value"), rows, empty="nothing is configured: host defaults, catalogue and tuning hold")
    if found.tunings:
        print()
        print_table(
            ("tuned for", "mode", "values"),
            [
                (
                    f"{tuning.device}: {tuning.host_kind}",
                    tuning.mode,
                    " ".join(f"{name}={value}" for name, value in tuning.config.values().items()) or "the defaults",
                )
                for tuning in found.tunings
            ],
            empty="",
        )
    if changed:
        print(f"It takes effect {found.takes_effect}.")
