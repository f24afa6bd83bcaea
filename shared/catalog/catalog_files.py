"""Reads the catalogue: the shipped files, and those that operators put into a folder of their own."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shared.catalog.catalog import Catalog
from shared.catalog.chat_form import ChatForm
from shared.catalog.entry import CatalogEntry
from shared.errors import InvalidRequest

_Model = TypeVar("_Model", bound=BaseModel)
_TABLES = frozenset({"models", "forms"})


def load_catalog(extra: Path | None = None) -> Catalog:
    """Return the shipped catalogue with the entries and forms of the TOML files in another folder, smallest first.

    Raises:
        InvalidRequest: a file is no catalogue; the message names the file, the entry and the field.
    """
    shipped = Path(str(files(__package__)))
    paths = [shipped / "forms.toml", *sorted((shipped / "models").glob("*.toml"))]
    if extra is not None:
        if not extra.is_dir():
            raise InvalidRequest(f"The catalogue folder {extra} does not exist.", param="catalog")
        paths += sorted(extra.glob("*.toml"))
    placed: list[tuple[CatalogEntry, Path]] = []
    forms: dict[str, ChatForm] = {}
    for path in paths:
        table = _read(path)
        for name, raw in _forms(table, path):
            if name in forms:
                raise _bad(path, f"form {name}", "another form has this name")
            forms[name] = _parse(ChatForm, raw, path, f"form {name}")
        placed += [
            (_parse(CatalogEntry, raw, path, _title(raw, number)), path)
            for number, raw in enumerate(_models(table, path), start=1)
        ]
    _check_names(placed, forms)
    entries = (entry for entry, _ in placed)
    return Catalog(sorted(entries, key=lambda entry: entry.parameters or sys.maxsize), forms)


def _read(path: Path) -> dict[str, object]:
    try:
        table: dict[str, object] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The catalogue file {path} cannot be read: {error}", param="catalog") from error
    if strange := sorted(table.keys() - _TABLES):
        raise InvalidRequest(
            f"The catalogue file {path} has {strange[0]}; it may have [[models]] and [forms.NAME].", param="catalog"
        )
    return table


def _models(table: Mapping[str, object], path: Path) -> list[object]:
    models = table.get("models", [])
    if not isinstance(models, list):
        raise InvalidRequest(f"The catalogue file {path}: models are written as [[models]].", param="catalog")
    return models


def _forms(table: Mapping[str, object], path: Path) -> Iterable[tuple[str, object]]:
    forms = table.get("forms", {})
    if not isinstance(forms, dict):
        raise InvalidRequest(f"The catalogue file {path}: a form is written as [forms.NAME].", param="catalog")
    return forms.items()


def _title(raw: object, number: int) -> str:
    name = raw.get("id") if isinstance(raw, dict) else None
    return f"model {name}" if isinstance(name, str) else f"model number {number}"


def _parse(model: type[_Model], raw: object, path: Path, title: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _bad(path, title, "; ".join(_wrong_fields(error))) from error


def _wrong_fields(error: ValidationError) -> Iterable[str]:
    for wrong in error.errors(include_url=False):
        field = ".".join(map(str, wrong["loc"]))
        message = str(wrong["msg"]).removeprefix("Value error, ")
        yield f"{field}: {message}" if field else message


def _check_names(placed: Iterable[tuple[CatalogEntry, Path]], forms: Mapping[str, ChatForm]) -> None:
    taken: dict[str, tuple[CatalogEntry, Path]] = {}
    for entry, path in placed:
        for field, name in (("id", entry.id), *(("aliases", alias) for alias in entry.aliases)):
            if name in taken:
                other, place = taken[name]
                raise _bad(path, f"model {entry.id}", f"{field}: {name} is taken by {other.id} of {place.name}")
            taken[name] = (entry, path)
        if entry.form is not None and entry.form not in forms:
            raise _bad(path, f"model {entry.id}", f"form: there is no form {entry.form}")


def _bad(path: Path, title: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"The catalogue file {path}, {title}: {what}", param="catalog")
