"""The catalogue: what is known of a model before it is converted. Data in ``models.toml``, typed here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from shared.errors import InvalidRequest
from shared.schemas.common import StrictMessage
from shared.schemas.engine_config import EngineConfig
from shared.schemas.models import Name, Recipe, VariantRequest

Language = Literal["en", "zh", "ja"]

#: INT4 recipe of a model that names none.
DEFAULT_INT4_RECIPE = Recipe(sym=False, group_size=128, ratio=0.8)
#: The order in which a published variant becomes the default of its model.
DEFAULT_VARIANT_ORDER = ("int8", "int4", "fp16")
#: The model that needs no hub.
DEMO_MODEL = "smollm2-135m-instruct"


class CatalogEntry(StrictMessage):
    """One model of the catalogue."""

    id: Name
    aliases: tuple[Name, ...] = ()
    languages: tuple[Language, ...]
    source_model: str
    revision: str | None = None
    trust_remote_code: bool = False
    gated: bool = False
    chat: bool = Field(True, description="Whether it was trained to chat; a base model only continues a text.")
    family: str = Field(description="`model_type` of its configuration.")
    int4: Recipe = DEFAULT_INT4_RECIPE
    runtime: dict[str, dict[str, str]] = Field(
        {}, description="By kind of device, as in GPU: properties of its plugin that the model needs there."
    )

    @field_validator("runtime")
    @classmethod
    def _properties_are_known(cls, runtime: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for properties in runtime.values():
            EngineConfig(properties=properties)
        return runtime


class Catalog:
    """Looks entries up by id, alias or source model."""

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        self.entries = tuple(entries)
        self._by_name: dict[str, CatalogEntry] = {}
        for entry in self.entries:
            for name in (entry.id, *entry.aliases):
                if name in self._by_name:
                    raise InvalidRequest(f"The catalogue names {name} twice.", param="catalog")
                self._by_name[name] = entry
        self._by_source = {entry.source_model.lower(): entry for entry in reversed(self.entries)}

    def find(self, name: str) -> CatalogEntry | None:
        """Return the entry of an id, an alias or a source model; None where there is none."""
        return self._by_name.get(name) or self._by_source.get(name.lower())


def load_catalog(extra: Path | None = None) -> Catalog:
    """Return the shipped catalogue and the entries of another file of the same form.

    Raises:
        InvalidRequest: the extra file is no catalogue; the message says where.
    """
    text = (files(__name__) / "models.toml").read_text("utf-8")
    tables = tomllib.loads(text)["models"]
    if extra is not None:
        try:
            tables += tomllib.loads(extra.read_text("utf-8"))["models"]
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise InvalidRequest(f"The catalogue file {extra} cannot be read: {error}", param="catalog") from error
    try:
        return Catalog(CatalogEntry.model_validate(table) for table in tables)
    except ValidationError as error:
        raise InvalidRequest(f"The catalogue has a bad entry: {error}", param="catalog") from error


def complete_recipe(variant: VariantRequest, entry: CatalogEntry | None) -> VariantRequest:
    """Return the variant with every choice made: the request's, else the catalogue's, else the default."""
    asked = variant.recipe.model_dump(exclude_none=True)
    if variant.weight_format == "fp16":
        recipe = Recipe()
    elif variant.weight_format == "int8":
        recipe = Recipe(**{"sym": False, **asked})
    else:
        base = (entry.int4 if entry is not None else DEFAULT_INT4_RECIPE).model_dump()
        recipe = Recipe(**{**base, **asked})
    return variant.model_copy(update={"recipe": recipe})
