"""Open one socket: the handshake with the key, the first frame, and what a refusal means."""

from __future__ import annotations

import json

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.client.address import GatewayAddress
from shared.errors import ErrorBody, InternalError, InvalidApiKey, PlatformError, Unavailable, error_from_body
from shared.schemas.realtime import MAX_FRAME_BYTES, SERVER_FRAME, ErrorFrame, SessionReady

_OPEN_TIMEOUT_SECONDS = 10.0


async def open_socket(address: GatewayAddress, key: str) -> tuple[ClientConnection, str]:
    """Return the open socket and the user that the key belongs to.

    Raises:
        Unavailable: nobody answers, or the gateway cannot serve now; worth another try.
        InvalidApiKey: the gateway does not know the key.
        InternalError: what answers is no gateway of this protocol.
    """
    try:
        socket = await connect(
            address.websocket_url,
            additional_headers={"Authorization": f"Bearer {key}"},
            # Deltas are a few bytes each: compressing them costs both sides more than it saves.
            compression=None,
            max_size=MAX_FRAME_BYTES,
            open_timeout=_OPEN_TIMEOUT_SECONDS,
            close_timeout=2,
            proxy=None if address.is_loopback else True,
        )
    except InvalidStatus as error:
        raise _refusal(error.response.status_code, error.response.body) from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(address.unreachable) from error
    except InvalidHandshake as error:
        # A gateway that goes down in the middle of the handshake; a server of another kind ends here too.
        raise Unavailable(f"{address.unreachable} ({error})") from error
    try:
        return socket, await _user(socket)
    except PlatformError:
        await socket.close()
        raise


async def _user(socket: ClientConnection) -> str:
    try:
        frame = SERVER_FRAME.validate_json(await socket.recv())
    except ValidationError as error:
        raise InternalError("the socket does not speak the protocol of this client") from error
    except ConnectionClosed as error:
        if socket.close_code in (1001, 1006, 1011, 1012, 1013):
            raise Unavailable(socket.close_reason or "the gateway closed the socket") from error
        raise InvalidApiKey(socket.close_reason or "the gateway refused the key") from error
    if isinstance(frame, ErrorFrame):
        raise error_from_body(frame.error)
    if not isinstance(frame, SessionReady):
        raise InternalError("the socket does not begin with session.ready")
    return frame.user


def _refusal(status: int, body: bytes | bytearray | None) -> PlatformError:
    try:
        return error_from_body(ErrorBody.model_validate(json.loads(body or b"")["error"]))
    except (ValueError, KeyError, TypeError):
        pass
    if status in (401, 403):
        return InvalidApiKey("the gateway refused the key")
    if status in (429, 502, 503, 504):
        return Unavailable(f"the gateway answered {status}")
    return InternalError(f"the socket's address answered {status}; is this an ovchat gateway?")
