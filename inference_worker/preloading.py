"""Loads the variants that the operator named, each as soon as it is in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.errors import LoadFailed, StoreUnavailable, VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore

_log = get_logger(__name__)

#: Seconds between looks for a variant that is not published yet.
LOOK_SECONDS = 2.0


def preloaded_variants(names: str) -> frozenset[str]:
    """Return the comma-separated ``model:variant`` names of the setting."""
    return frozenset(name.strip() for name in names.split(",") if name.strip())


async def preload(
    names: frozenset[str], store: ModelStore, load: Callable[[str], None], *, begin_after_seconds: float = 0.0
) -> None:
    """Load each variant once it is published; return when all are."""
    missing = sorted(names)
    if missing:
        _log.info("preload", variants=missing)
        await asyncio.sleep(begin_after_seconds)
    while missing:
        for name in tuple(missing):
            if await asyncio.to_thread(is_published, name, store):
                missing.remove(name)
                load(name)
        if missing:
            await asyncio.sleep(LOOK_SECONDS)


def is_published(name: str, store: ModelStore) -> bool:
    """Tell whether ``model:variant`` is in the store; a damaged one is, one that cannot be asked for is not yet."""
    model, _, variant = name.partition(":")
    try:
        store.manifest(model, variant)
    except (VariantNotPublished, StoreUnavailable, LoadFailed):
        return False
    except VariantCorrupt:
        # Loading says what is wrong with it.
        return True
    return True
