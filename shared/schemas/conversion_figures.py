"""What a conversion takes, stage by stage: foretold before it begins, and measured while it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.schemas.common import Message

Stage = Literal["resolve", "preflight", "download", "export", "compress", "tokenizer", "verify", "publish"]


class StageFigures(Message):
    """One stage, of one variant where each variant has its own."""

    stage: Stage
    variant: str | None = None
    part: str | None = Field(None, description="What else is done in the stage, such as `engine_check` in `verify`.")
    memory_bytes: int = Field(
        description="Most resident memory of the stage's process, shared libraries and mapped weights included."
    )
    seconds: float


class ConversionFigures(Message):
    """A whole conversion; stages that run side by side count together."""

    memory_bytes: int = Field(description="Most memory of all stages' processes at one time, shared libraries once.")
    disk_bytes: int | None = Field(None, description="Of the work folder and of what is published from it.")
    seconds: float = Field(description="Of the stages' work, waiting not counted.")
    stages: tuple[StageFigures, ...] = ()

    def of(self, stage: str, variant: str | None, part: str | None = None) -> StageFigures | None:
        """Return the figures of one stage, None where there are none."""
        wanted = (stage, variant, part)
        return next((one for one in self.stages if (one.stage, one.variant, one.part) == wanted), None)
