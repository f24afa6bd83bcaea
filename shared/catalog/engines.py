"""Which engine serves a model type rightly. Data in ``engines.toml``."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

from pydantic import Field

from shared.schemas.common import StrictMessage
from shared.schemas.models import EngineName

__all__ = ["USUAL_ENGINE", "EngineFact", "EngineFacts", "EngineName", "load_engine_facts"]

#: The engine of a model type of which nothing else is known.
USUAL_ENGINE: EngineName = "continuous_batching"
_Text = Annotated[str, Field(min_length=1)]


class EngineFact(StrictMessage):
    """The engine that a model type needs, and why it is not the usual one."""

    engine: EngineName
    reason: _Text


class EngineFacts(StrictMessage):
    """What is known of model types that the usual engine computes wrongly."""

    model_types: dict[_Text, EngineFact]

    def engine(self, model_type: str) -> EngineName:
        """Return the engine that serves a model type; the usual one where nothing else is known."""
        fact = self.model_types.get(model_type)
        return USUAL_ENGINE if fact is None else fact.engine


@lru_cache(maxsize=1)
def load_engine_facts() -> EngineFacts:
    """Return the facts."""
    return EngineFacts.model_validate(tomllib.loads((files(__package__) / "engines.toml").read_text("utf-8")))
