"""``/api/v1/catalog``."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from gateway.dependencies import StateDep
from shared.catalog import CatalogEntry

router = APIRouter(prefix="/api/v1/catalog", tags=["catalog"])


class CatalogList(BaseModel):
    """Every model that the platform knows how to convert."""

    data: list[CatalogEntry]


@router.get("")
async def list_catalog(state: StateDep) -> CatalogList:
    """List the catalogue."""
    return CatalogList(data=list(state.catalog.entries))
