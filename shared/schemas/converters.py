"""A converter worker as the registry knows it."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.common import Message

#: A converter that has said nothing for so long gets nothing more, and what waits for it goes back to all.
CONVERTER_LOST_MS = 20_000


class ConverterInfo(Message):
    """What a converter has, said every few seconds."""

    worker_id: str
    host: str
    slots: int = Field(description="Stages that it works on at once where memory allows.")
    busy: int = Field(0, description="Stages that it works on now.")
    memory_bytes: int = Field(description="Most memory that its stages may take together.")
    free_bytes: int = Field(description="How much of that a further stage could take now.")
    disk_free_bytes: int = Field(description="Free space where it works and publishes.")
    disk_bytes: int = Field(0, description="Size of that file system; 0 where an older converter does not say.")
    seen_ms: int = Field(0, description="When it last said so, by Redis' clock.")
