"""Published variants as OpenAI's model objects, with vLLM's additions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from shared.schemas.models import VariantRecord


class ServedModel(BaseModel):
    """One name that can be asked for; ``created`` in seconds since the epoch, ``root`` the source model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ovchat"
    root: str
    parent: str | None = None
    max_model_len: int


class ServedModels(BaseModel):
    """Every name that can be asked for."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


def served_model(name: str, variant: VariantRecord) -> ServedModel:
    """Return the object of a variant under one of its names."""
    return ServedModel(
        id=name,
        created=int(datetime.fromisoformat(variant.created_at).timestamp()),
        root=variant.source_model,
        max_model_len=variant.context_length,
    )


def served_models(published: Mapping[str, tuple[VariantRecord, ...]]) -> list[ServedModel]:
    """Return every model under its name alone, followed by its variants."""
    return [
        served_model(name, record)
        for model, records in published.items()
        for name, record in ((model, records[0]), *((record.key, record) for record in records))
    ]
