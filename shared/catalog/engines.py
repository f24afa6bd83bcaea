"""Which engine serves a model type rightly. Data in ``engines.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
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


class ConfigurationFact(EngineFact):
    """The engine that models of a type need where a field of their ``config.json`` has a value."""

    model_type: _Text
    field: _Text
    value: bool


class EngineFacts(StrictMessage):
    """What is known of models that the usual engine computes wrongly."""

    model_types: dict[_Text, EngineFact]
    configurations: tuple[ConfigurationFact, ...] = ()

    def engine(self, model_type: str) -> EngineName:
        """Return the engine that serves a model type; the usual one where nothing else is known."""
        fact = self.model_types.get(model_type)
        return USUAL_ENGINE if fact is None else fact.engine

    def of_configuration(self, config: Mapping[str, object]) -> ConfigurationFact | None:
        """Return what is known because of a field of a model's ``config.json``."""
        for fact in self.configurations:
            if config.get("model_type") == fact.model_type and config.get(fact.field) is fact.value:
                return fact
        return None


@lru_cache(maxsize=1)
def load_engine_facts() -> EngineFacts:
    """Return the facts."""
    return EngineFacts.model_validate(tomllib.loads((files(__package__) / "engines.toml").read_text("utf-8")))
