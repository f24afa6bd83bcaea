"""Short names for what endpoints need."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from gateway.state import GatewayState


def get_state(connection: HTTPConnection) -> GatewayState:
    """Return the gateway's state, of a request or a socket."""
    return cast(GatewayState, connection.app.state.gateway)


def get_user(connection: HTTPConnection) -> str:
    """Return the user whose key the request presented."""
    return cast(str, connection.state.user)


StateDep = Annotated[GatewayState, Depends(get_state)]
UserDep = Annotated[str, Depends(get_user)]
