"""``/api/v1/converters``: admins only."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway.converters.registry import living_converters
from gateway.dependencies import StateDep, require_admin
from shared.schemas.converters import ConverterInfo

router = APIRouter(prefix="/api/v1/converters", tags=["conversions"], dependencies=[Depends(require_admin)])


class ConverterList(BaseModel):
    """The converters that live, the largest memory first."""

    data: list[ConverterInfo]


@router.get("")
async def list_converters(state: StateDep) -> ConverterList:
    """List the converters with the memory and the disk that a conversion could have."""
    return ConverterList(data=await living_converters(state.transport))
