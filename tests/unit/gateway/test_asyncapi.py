"""The WebSocket's description names every frame, and its schemas say what the code accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from gateway.realtime.asyncapi import asyncapi_document
from shared.schemas.realtime import CLIENT_FRAME, ClientFrame, GenerationQueued, Pong, ServerFrame

DOCUMENT: dict[str, Any] = asyncapi_document("1.2.3")


def names(union: object) -> list[str]:
    return [get_args(frame.model_fields["type"].annotation)[0] for frame in get_args(get_args(union)[0])]


def follow(reference: dict[str, str]) -> Any:
    found: Any = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def payload(name: str) -> dict[str, Any]:
    """Return a frame's schema with all that it refers to."""
    return {**follow(DOCUMENT["components"]["messages"][name]["payload"]), "components": DOCUMENT["components"]}


def test_every_frame_is_listed_in_its_direction() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    for operation, union in (("receiveCommand", ClientFrame), ("sendEvent", ServerFrame)):
        told = [follow(follow(message))["name"] for message in DOCUMENT["operations"][operation]["messages"]]
        assert told == names(union)
    assert list(DOCUMENT["channels"]["socket"]["messages"]) == [*names(ClientFrame), *names(ServerFrame)]
    assert DOCUMENT["channels"]["socket"]["address"] == "/api/v1/ws"


def test_every_reference_leads_somewhere() -> None:
    references = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                references.append(value)
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(DOCUMENT)
    assert len(references) > 40
    assert all(follow(reference) for reference in references)


@pytest.mark.parametrize(
    ("frame", "good"),
    [
        ({"type": "chat.send", "request_id": "r", "model": "m", "content": "c", "params": {"temperature": 2}}, True),
        ({"type": "chat.send", "request_id": "r", "model": "m", "content": "c", "params": {"temperature": 3}}, False),
        ({"type": "chat.send", "request_id": "r", "model": "m", "content": ""}, False),
        ({"type": "generation.resume", "generation_id": "g", "after_seq": -1}, False),
        ({"type": "generation.cancel", "generation_id": "g", "more": 1}, False),
        ({"type": "ping"}, True),
    ],
)
def test_the_schemas_accept_what_the_code_accepts(frame: dict[str, object], good: bool) -> None:
    accepted = []
    for check in (
        lambda: jsonschema.validate(frame, payload(str(frame["type"]))),
        lambda: CLIENT_FRAME.validate_json(json.dumps(frame)),
    ):
        try:
            check()
        except ValueError:
            accepted.append(False)
        except jsonschema.ValidationError:
            accepted.append(False)
        else:
            accepted.append(True)
    assert accepted == [good, good]


def test_what_the_gateway_sends_fits_its_schema() -> None:
    queued = GenerationQueued(
        request_id="r", generation_id="g", chat_id="c", user_message_id="u", message_id="g", position=0
    )
    jsonschema.validate(queued.model_dump(), payload("generation.queued"))
    jsonschema.validate(Pong().model_dump(), payload("pong"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(queued.model_dump() | {"position": "first"}, payload("generation.queued"))


def test_every_frame_of_the_protocol_s_page_is_in_the_document() -> None:
    page = (Path(__file__).parents[3] / "shared" / "docs" / "protocol.md").read_text("utf-8")
    assert all(f"| `{name}` |" in page for name in DOCUMENT["components"]["messages"])
