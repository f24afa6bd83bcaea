"""Runs over the model store: collecting what nobody needs, and checking what is published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.errors import ErrorBody
from shared.schemas.common import Flag, Message, StrictMessage

StoreTask = Literal["gc", "verify"]
StoreRunState = Literal["queued", "running", "finished", "failed"]
#: `staging`: what a conversion left; `cache`: a source that can be fetched again; `orphan`: a folder without a
#: manifest; `damaged`: a variant whose manifest cannot be read; `trash`: half removed.
LeftoverKind = Literal["staging", "cache", "orphan", "damaged", "trash"]

#: Runs are forgotten after this.
STORE_RUN_TTL_SECONDS = 24 * 3600


class CollectionRequest(StrictMessage):
    """``POST /api/v1/store/gc``."""

    free: Flag = Field(False, description="Remove what is found; else it is only told.")


class VerificationRequest(StrictMessage):
    """``POST /api/v1/store/verify``."""

    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="`model` or `model:variant`; everything published where not given."
    )


class Leftover(Message):
    """Something in the store or beside it that nobody needs."""

    kind: LeftoverKind
    name: str = Field(description="Below the store, or the source that was downloaded.")
    size_bytes: int
    reason: str = Field(description="Why it is not needed, or why it stays.")
    state: Literal["found", "freed", "kept"] = Field("found", description="`kept`: it stays, for the reason given.")


class VariantCheck(Message):
    """What a published variant's files are worth."""

    model: str
    variant: str
    problem: str | None = Field(None, description="What is corrupt and what to do; null where all is well.")


class StoreRun(Message):
    """``GET /api/v1/store/runs/{id}``."""

    run_id: str
    task: StoreTask
    free: bool = False
    model: str | None = None
    state: StoreRunState = "queued"
    leftovers: tuple[Leftover, ...] = ()
    checks: tuple[VariantCheck, ...] = ()
    error: ErrorBody | None = None

    @property
    def freed_bytes(self) -> int:
        """Bytes that were given back."""
        return sum(item.size_bytes for item in self.leftovers if item.state == "freed")

    @property
    def found_bytes(self) -> int:
        """Bytes that could be given back."""
        return sum(item.size_bytes for item in self.leftovers if item.state == "found")
