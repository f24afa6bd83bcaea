"""Which tiny checkpoints are made of each family. Data in ``shapes.toml``."""

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.catalog.engines import EngineName
from shared.catalog.stacks import load_stacks

#: Within one KV block, over two, and longer than one step of the engine.
PROMPT_LENGTHS = (11, 40, 75)
#: TOML has no null.
_NONE = "none"


class Shape(BaseModel):
    """One checkpoint: a family's model type, a name for the reader, and the fields of its configuration.

    `engine` is the one that an operator chooses for it, where that is not the platform's own choice; `attention`
    is the reference's, the plainest where nothing speaks against it; `fp16_reference` is what FP16 is compared with;
    `note` is for the readers of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    name: str
    common: bool = True
    prompt_lengths: tuple[int, ...] = PROMPT_LENGTHS
    engine: EngineName | None = None
    attention: str = "eager"
    fp16_reference: Literal["transformers", "optimum-intel"] = "transformers"
    note: str | None = None
    fields: dict[str, Any] = {}

    @property
    def slug(self) -> str:
        """The shape's name for files, and as a model's public name."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.family} {self.name}".lower()).strip("-")


@lru_cache(maxsize=1)
def load_shapes() -> tuple[Shape, ...]:
    """Return all shapes, each with all the fields that its configuration is made with."""
    data = _read()
    return tuple(_complete(Shape.model_validate(raw), data["common"]) for raw in data["shapes"])


def load_not_run() -> dict[str, str]:
    """Return families that no checkpoint is made of here, with the reason."""
    reason = "its code comes with the model; the path of such code is tested with a local checkpoint"
    stacks = load_stacks()
    return {**dict.fromkeys(sorted(stacks.remote_code), reason), **stacks.unsupported, **_read()["not_run"]}


def _read() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "shapes.toml").read_text("utf-8"))


def _complete(shape: Shape, common: dict[str, Any]) -> Shape:
    fields = {**(common if shape.common else {}), **shape.fields}
    nulled = {name: None if value == _NONE else value for name, value in fields.items()}
    return shape.model_copy(update={"fields": nulled})
