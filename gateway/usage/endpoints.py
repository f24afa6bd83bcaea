"""``/api/v1/usage``."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator

from gateway.dependencies import PrincipalDep, StateDep
from shared.errors import InvalidRequest, PermissionDenied
from shared.schemas.usage import UsageDay

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])

#: Days that are told where the request names none.
DEFAULT_DAYS = 30
MOST_DAYS = 366


def _day(value: object) -> object:
    """Refuse what is no ``YYYY-MM-DD``; left alone, a number would be taken for seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("a day is written as YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_day)]


class UsageList(BaseModel):
    """Days with use, oldest first."""

    data: list[UsageDay]


@router.get("")
async def list_usage(
    state: StateDep,
    principal: PrincipalDep,
    user: Annotated[str | None, Query(max_length=100, description="Whose; an admin's default is everybody's.")] = None,
    from_: Annotated[Day | None, Query(alias="from", description="First UTC day; 30 days in all by default.")] = None,
    to: Annotated[Day | None, Query(description="Last UTC day; today by default.")] = None,
) -> UsageList:
    """List what was used on each UTC day: one's own, or for an admin anybody's."""
    if not principal.is_admin:
        if user not in (None, principal.user):
            raise PermissionDenied("Only an admin may see what others used.", param="user")
        user = principal.user
    try:
        last = to or (await state.usage.now()).date()
        first = from_ or last - timedelta(days=DEFAULT_DAYS - 1)
    except OverflowError as error:
        raise InvalidRequest("There is no such day.", param="to") from error
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InvalidRequest(f"`from` comes before `to`, by less than {MOST_DAYS} days.", param="from")
    return UsageList(data=await state.usage.days(first, last, user=user))
