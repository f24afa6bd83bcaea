"""The catalogue: every model that is known before it is converted, and the chat forms of those that need one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.catalog.chat_form import ChatForm
from shared.catalog.entry import CatalogEntry


class Catalog:
    """Looks entries up by id, alias or source model."""

    def __init__(self, entries: Iterable[CatalogEntry], forms: Mapping[str, ChatForm] | None = None) -> None:
        self.entries = tuple(entries)
        self._forms = dict(forms or {})
        self._by_name: dict[str, CatalogEntry] = {}
        for entry in self.entries:
            for name in (entry.id, *entry.aliases):
                self._by_name[name] = entry
        for entry in self.entries:
            # What a hub id is called without its organisation; an id or alias of that name is stronger.
            source = entry.source_model.lower()
            for name in (source, source.rsplit("/", 1)[-1]):
                self._by_name.setdefault(name, entry)

    def find(self, name: str) -> CatalogEntry | None:
        """Return the entry of an id, an alias, a hub id or a hub id's last part; None where there is none."""
        return self._by_name.get(name.lower())

    def find_published(self, source_model: str, model: str) -> CatalogEntry | None:
        """Return the entry of a published or planned model: by its source, else by its public name."""
        return self.find(source_model) or self.find(model)

    def form(self, entry: CatalogEntry | None) -> ChatForm | None:
        """Return the chat form that stands in for an entry's missing template; None where it has none."""
        return None if entry is None or entry.form is None else self._forms.get(entry.form)
