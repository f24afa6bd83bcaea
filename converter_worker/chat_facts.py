"""What the catalogue knows of a model's chats, in the form of the tokenizer stage's argument."""

from pydantic import JsonValue

from shared.catalog import Catalog
from shared.schemas.conversion import ConversionPlan


def chat_facts(catalog: Catalog, plan: ConversionPlan) -> dict[str, JsonValue]:
    """Return the facts of a plan's model, none for a model that the catalogue does not know."""
    entry = catalog.find_published(plan.source_model, plan.model)
    if entry is None:
        return {}
    form = catalog.form(entry)
    return {
        "form": form.model_dump(mode="json") if form is not None else None,
        "stop_tokens": list(entry.stop_tokens),
        "stream": entry.stream.model_dump(mode="json"),
    }
