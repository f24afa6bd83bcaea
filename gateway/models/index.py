"""Published variants, read from the index, and what a client's model name stands for."""

from __future__ import annotations

import difflib
from typing import cast

from pydantic import ValidationError

from shared import keys
from shared.catalog import DEFAULT_VARIANT_ORDER, Catalog
from shared.errors import ModelNotConverted, ModelNotFound, VariantNotPublished
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.models import VariantRecord

log = get_logger(__name__)


class ModelIndex:
    """The index of published variants in the state Redis; the converter writes it from the manifests."""

    def __init__(self, state: AsyncRedis, catalog: Catalog) -> None:
        self._redis = state
        self._catalog = catalog

    async def variants(self) -> dict[str, tuple[VariantRecord, ...]]:
        """Return the published variants of each model, both by name."""
        raw = cast(dict[bytes, bytes], await self._redis.hgetall(keys.VARIANTS))
        models: dict[str, list[VariantRecord]] = {}
        for name in sorted(raw):
            record = _record(raw[name])
            if record is not None:
                models.setdefault(record.model, []).append(record)
        return {model: tuple(records) for model, records in models.items()}

    async def find(self, model: str, variant: str) -> VariantRecord | None:
        """Return a published variant by its exact names."""
        raw = cast(bytes | None, await self._redis.hget(keys.VARIANTS, f"{model}:{variant}"))
        return None if raw is None else _record(raw)

    async def default_variant(self, model: str, records: tuple[VariantRecord, ...]) -> str:
        """Return the variant that ``model`` alone means: the admin's choice, else int8, int4, fp16, any."""
        names = [record.variant for record in records]
        chosen = await self.chosen_variant(model)
        if chosen in names:
            return chosen
        return next((name for name in DEFAULT_VARIANT_ORDER if name in names), names[0])

    async def chosen_variant(self, model: str) -> str | None:
        """Return the variant that an admin chose as the default of a model, published or not."""
        chosen = cast(bytes | None, await self._redis.hget(keys.DEFAULT_VARIANTS, model))
        return None if chosen is None else chosen.decode()

    async def choose_default(self, model: str, variant: str | None) -> None:
        """Have a model's name alone mean this variant from now on; None leaves it to the platform again."""
        if variant is None:
            await self._redis.hdel(keys.DEFAULT_VARIANTS, model)
        else:
            await self._redis.hset(keys.DEFAULT_VARIANTS, model, variant)

    async def want_quality(self, model: str, variant: str) -> None:
        """Have a converter measure a variant when nothing is converted, anew where it was measured."""
        await self._redis.sadd(keys.QUALITY_WANTED, f"{model}:{variant}")

    async def resolve(self, name: str) -> VariantRecord:
        """Return the variant that ``model`` or ``model:variant`` names; a hub id or an alias is a model too.

        Raises:
            ModelNotFound, ModelNotConverted, VariantNotPublished: the message says what there is instead.
        """
        model_name, _, variant_name = name.partition(":")
        published = await self.variants()
        model = self._published_name(model_name, published)
        if model is None:
            entry = self._catalog.find(model_name)
            if entry is not None:
                raise ModelNotConverted(
                    f"{entry.id} is in the catalogue but not converted yet. "
                    "An admin can convert it, with POST /api/v1/conversions or with `convert` of the ovchat command.",
                    param="model",
                )
            near = difflib.get_close_matches(model_name, published, n=3, cutoff=0.5)
            there = (
                f"Did you mean {' or '.join(near)}?" if near else f"Published: {', '.join(published) or 'none yet'}."
            )
            raise ModelNotFound(f"There is no model {model_name!r}. {there}", param="model")
        records = published[model]
        wanted = variant_name or await self.default_variant(model, records)
        for record in records:
            if record.variant == wanted:
                return record
        names = ", ".join(record.variant for record in records)
        raise VariantNotPublished(f"{model} has no published variant {wanted!r}; it has {names}.", param="model")

    def _published_name(self, name: str, published: dict[str, tuple[VariantRecord, ...]]) -> str | None:
        if name in published:
            return name
        entry = self._catalog.find(name)
        if entry is not None and entry.id in published:
            return entry.id
        return next((model for model, records in published.items() if records[0].source_model == name), None)


def _record(raw: bytes) -> VariantRecord | None:
    """Return a record; None for one that only a newer gateway can read, which must not hide the others."""
    try:
        # What a newer converter added is kept: its recipe is not that of a variant without it.
        return VariantRecord.model_validate_json(raw, extra="allow")
    except ValidationError:
        log.warning("variant_of_newer_version", record=raw[:200].decode(errors="replace"))
        return None
