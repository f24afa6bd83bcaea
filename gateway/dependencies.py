"""Short names for what endpoints need."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from gateway.principal import Principal, Standing
from gateway.state import GatewayState
from shared.errors import PermissionDenied


def get_state(connection: HTTPConnection) -> GatewayState:
    """Return the gateway's state, of a request or a socket."""
    return cast(GatewayState, connection.app.state.gateway)


def get_standing(connection: HTTPConnection) -> Standing:
    """Return who asks, and learn what becomes of their key; the guard has let nobody else through."""
    return cast(Standing, connection.state.standing)


def get_principal(standing: Annotated[Standing, Depends(get_standing)]) -> Principal:
    """Return who asks."""
    return standing.principal


def require_admin(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """Return who asks, where that is an admin.

    Raises:
        PermissionDenied: it is not.
    """
    if not principal.is_admin:
        raise PermissionDenied("Only an admin may do this.")
    return principal


StateDep = Annotated[GatewayState, Depends(get_state)]
StandingDep = Annotated[Standing, Depends(get_standing)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
AdminDep = Annotated[Principal, Depends(require_admin)]
