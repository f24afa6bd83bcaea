"""``/api/v1/ws`` and its description."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, WebSocket
from pydantic import JsonValue

from gateway.authentication import SUBPROTOCOL
from gateway.dependencies import StandingDep, StateDep
from gateway.exception_handlers import error_response
from gateway.realtime.asyncapi import SOCKET_PATH, asyncapi_document
from gateway.realtime.connection import Connection
from shared.errors import Draining

router = APIRouter(tags=["realtime"])


@router.get("/api/v1/asyncapi.json")
async def describe_socket(request: Request) -> dict[str, JsonValue]:
    """Describe the WebSocket as an AsyncAPI 3.0 document."""
    return asyncapi_document(request.app.version)


@router.websocket(SOCKET_PATH)
async def realtime(websocket: WebSocket, state: StateDep, standing: StandingDep) -> None:
    """Serve one socket until either side ends it."""
    if state.draining.is_set:
        await websocket.send_denial_response(error_response(Draining("This gateway is shutting down.")))
        return
    offered = cast(list[str], websocket.scope.get("subprotocols", []))
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    with state.metrics.sockets.track_inprogress():
        await Connection(websocket, state, standing).serve()
