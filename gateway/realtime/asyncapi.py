"""The WebSocket's description as an AsyncAPI 3.0 document, made from the frame types themselves."""

from __future__ import annotations

from inspect import getdoc
from typing import get_args

from pydantic import BaseModel, JsonValue
from pydantic.json_schema import models_json_schema

from shared.schemas.realtime import MAX_FRAME_BYTES, ClientFrame, ServerFrame

SOCKET_PATH = "/api/v1/ws"

_DESCRIPTION = f"""One socket of a user. Frames are JSON text of at most {MAX_FRAME_BYTES} bytes; `type` tells them
apart. A generation's first frame is `generation.queued`, its last one `generation.finished` or `generation.failed`. It
goes on when its socket closes: `generation.resume` follows it again, from after any delta, on any gateway. A frame that
cannot be read is answered by `error`, and the socket lives on."""


def asyncapi_document(version: str) -> dict[str, JsonValue]:
    """Return the document; commands are what the gateway receives, events what it sends."""
    commands, events = _frames(ClientFrame), _frames(ServerFrame)
    _, schemas = models_json_schema(
        [
            *((frame, "validation") for frame in commands.values()),
            *((frame, "serialization") for frame in events.values()),
        ],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "ovchat", "version": version, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": SOCKET_PATH,
                "messages": {name: _reference("components", "messages", name) for name in (*commands, *events)},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "receiveCommand": _operation("receive", commands),
            "sendEvent": _operation("send", events),
        },
        "components": {
            "messages": {name: _message(name, frame) for name, frame in (commands | events).items()},
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Your API key, as in `Bearer KEY`."},
            },
        },
    }


def _frames(union: object) -> dict[str, type[BaseModel]]:
    """Return the members of an annotated union by the value of their ``type``."""
    members: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


def _operation(action: str, frames: dict[str, type[BaseModel]]) -> dict[str, JsonValue]:
    return {
        "action": action,
        "channel": _reference("channels", "socket"),
        "messages": [_reference("channels", "socket", "messages", name) for name in frames],
        "security": [_reference("components", "securitySchemes", "key")],
    }


def _message(name: str, frame: type[BaseModel]) -> dict[str, JsonValue]:
    summary = (getdoc(frame) or "").split("\n\n", 1)[0]
    return {"name": name, "summary": summary, "payload": _reference("components", "schemas", frame.__name__)}


def _reference(*path: str) -> dict[str, JsonValue]:
    return {"$ref": "#/" + "/".join(path)}
