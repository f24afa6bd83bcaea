"""Why a variant could not be loaded, in words for whoever asked for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.errors import VariantCorrupt, VariantNotPublished
from shared.model_store import ModelStore

#: A place in the runtime's own sources, ``Exception from /home/…/utils.cpp:500:``, and what was checked there.
_PLACE = re.compile(r"(?:Exception from |Check '[^\n]*' failed at )\S+\.[ch](?:pp|xx)?:\d+:\s*")
#: ``RuntimeError:`` says no more than that something went wrong, ``EngineError:`` is this worker's own.
_KIND = re.compile(r"^(?:RuntimeError|EngineError): ")
#: An absolute path of two parts or more, but no address; the last part is kept.
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s/'\":,;]+/)+([^\s/'\":,;]*)")


def runtime_reason(text: str) -> str:
    """Return what a runtime said of its failure, without places in its sources and folders of this machine."""
    without_places = _PLACE.sub("", _KIND.sub("", text)).strip()
    return " ".join(_PATH.sub(r"\1", without_places or text).split())


def deletion(variants: Iterable[str], store: ModelStore) -> VariantNotPublished | None:
    """Return the error that explains a failed load where one of its ``model:variant`` is in the store no more."""
    for variant in variants:
        model, _, name = variant.partition(":")
        try:
            store.manifest(model, name)
        except VariantNotPublished:
            return VariantNotPublished(f"{variant} was deleted while it was being loaded. Choose another variant.")
        except VariantCorrupt:
            continue
    return None
