"""``/api/v1/ws``."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, WebSocket

from gateway.authentication import SUBPROTOCOL
from gateway.dependencies import PrincipalDep, StateDep
from gateway.realtime.connection import Connection

router = APIRouter()


@router.websocket("/api/v1/ws")
async def realtime(websocket: WebSocket, state: StateDep, principal: PrincipalDep) -> None:
    """Serve one socket until either side ends it."""
    offered = cast(list[str], websocket.scope.get("subprotocols", []))
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    with state.metrics.sockets.track_inprogress():
        await Connection(websocket, state, principal).serve()
