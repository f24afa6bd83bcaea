"""Version stacks: which set of conversion libraries exports a model type. Data in ``stacks.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field

from shared.errors import FamilyNotExported
from shared.schemas.common import StrictMessage

#: What is known of a model type in a stack, the best first.
Evidence = Literal["exact", "exports", "admitted"]
_ModelType = Annotated[str, Field(min_length=1)]


class Stack(StrictMessage):
    """One version of transformers and what goes with it; `lock` pins it, None where it cannot be installed yet."""

    name: Annotated[str, Field(min_length=1)]
    transformers: Annotated[str, Field(min_length=1, description="Version range, as pip reads it.")]
    lock: str | None = None
    model_types: dict[_ModelType, Evidence]


class Stacks(StrictMessage):
    """All stacks, the default first; why some model types have none; and what to take instead."""

    stacks: tuple[Stack, ...] = Field(min_length=1)
    unsupported: dict[_ModelType, str] = Field({}, description="By model type: why no stack exports it.")
    remote_code: frozenset[_ModelType] = Field(frozenset(), description="Model types whose code is on the hub only.")
    nearest: dict[_ModelType, str] = Field({}, description="By model type: a model of the catalogue that works.")

    @property
    def default(self) -> str:
        """Name of the stack that every converter has."""
        return self.stacks[0].name

    @property
    def remedy(self) -> str:
        """What to do where a stack is not installed."""
        return (
            "Install it on the converter's machine with deploy/bin/stacks, or with `make env` in a checkout; the "
            "converter's image has all of them. Then ask again: no restart is needed."
        )

    def evidence(self, model_type: str, name: str) -> Evidence | None:
        """Return what is known of a model type in the stack of that name, None where nothing is."""
        return next((stack.model_types.get(model_type) for stack in self.stacks if stack.name == name), None)

    def choose(self, model_type: str, installed: Collection[str] | None = None) -> str:
        """Return the name of the stack that exports a model type.

        Args:
            model_type: as in the model's ``config.json``; one that no stack lists is tried with the default.
            installed: names of the stacks at hand; all of them where not given.

        Raises:
            FamilyNotExported: no stack exports it, or none that is at hand; the message says what works instead.
        """
        if reason := self.unsupported.get(model_type):
            raise FamilyNotExported(
                f"No version stack exports the model type {model_type}: {reason}.{self._hint(model_type)}",
                param="source_model",
            )
        able = [stack.name for stack in self.stacks if model_type in stack.model_types]
        if not able:
            return self.default
        at_hand = [name for name in able if installed is None or name in installed]
        if not at_hand:
            raise FamilyNotExported(
                f"The model type {model_type} needs the version stack {able[0]}, which this converter does not have "
                f"(it has {', '.join(sorted(installed or ()))}). {self.remedy}{self._hint(model_type)}",
                param="source_model",
            )
        return at_hand[0]

    def _hint(self, model_type: str) -> str:
        near = self.nearest.get(model_type)
        return f" The nearest model that works is {near}." if near else ""


@lru_cache(maxsize=1)
def load_stacks() -> Stacks:
    """Return the stacks."""
    return Stacks.model_validate(tomllib.loads((files(__package__) / "stacks.toml").read_text("utf-8")))
