"""Which converter does a stage: here, elsewhere, or nowhere. A pure function over what the registry says."""

from collections.abc import Sequence
from typing import Literal

from shared.schemas.converters import ConverterInfo

Here = Literal["here"]


def place(
    needed_bytes: int, here: ConverterInfo, others: Sequence[ConverterInfo], *, passed_on: bool = False
) -> ConverterInfo | Here | None:
    """Return the converter that a stage is passed on to, "here" to do it (or wait for memory) here, None for nobody.

    A stage stays where it came unless it can never fit there, or memory is short there for now and a converter with a
    free slot has enough at once. One that was passed on stays if it can ever fit: it is not sent around.
    """
    can_ever = needed_bytes <= here.memory_bytes
    if can_ever and (passed_on or needed_bytes <= here.free_bytes):
        return "here"
    at_once = [info for info in others if needed_bytes <= info.free_bytes and info.busy < info.slots]
    if at_once:
        # The tightest fit: larger ones are kept for larger work.
        return min(at_once, key=lambda info: (info.memory_bytes, info.busy, info.worker_id))
    if can_ever:
        return "here"
    able = [info for info in others if needed_bytes <= info.memory_bytes]
    return min(able, key=lambda info: (info.busy, info.memory_bytes, info.worker_id), default=None)
