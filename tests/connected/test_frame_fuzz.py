"""Ten thousand mutated frames against a live socket: nothing crashes, and the next good frame is answered."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.sync.client import ClientConnection, connect

from shared.schemas.realtime import CLIENT_FRAME, ClientFrame, Ping
from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until

pytestmark = pytest.mark.connected
EXAMPLES, FRAMES_OF_ONE = 500, 20

GOOD: list[dict[str, Any]] = [
    {"type": "chat.send", "request_id": "r", "chat_id": None, "model": "sample", "content": "hi"},
    {
        "type": "chat.send",
        "request_id": "r",
        "chat_id": "chat_x",
        "model": "sample:int4",
        "content": "hi",
        "parent_message_id": "gen_x",
        "system": "s",
        "params": {"temperature": 0.5, "stop": ["x"], "seed": 1},
    },
    {"type": "chat.regenerate", "request_id": "r", "chat_id": "chat_x", "message_id": "gen_x", "params": None},
    {"type": "generation.cancel", "generation_id": "gen_x"},
    {"type": "generation.resume", "generation_id": "gen_x", "after_seq": 3},
    {"type": "ping"},
]
NAMES = sorted({name for frame in GOOD for name in frame} | {"temperature", "max_new_tokens", "unknown", ""})
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["gen_x", "root", "sample", "\0", "\ud800", "é" * 130, "ovchat:{pool}:workers", [[]], {"a": {}}]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner)),
)


@st.composite
def changed_frames(draw: st.DrawFn) -> bytes:
    """A good frame with fields replaced, added or taken away."""
    frame = dict(draw(st.sampled_from(GOOD)))
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)):
        if draw(st.booleans()):
            frame[name] = draw(odd_values)
        else:
            frame.pop(name, None)
    return json.dumps(frame).encode("utf-8", "surrogatepass")


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """A good frame's bytes, cut, repeated or overwritten somewhere."""
    raw = json.dumps(draw(st.sampled_from(GOOD))).encode()
    place = draw(st.integers(0, len(raw)))
    what = draw(st.sampled_from(("cut", "insert", "overwrite", "repeat")))
    piece = draw(st.binary(max_size=4))
    return {
        "cut": raw[:place],
        "insert": raw[:place] + piece + raw[place:],
        "overwrite": raw[:place] + piece + raw[place + len(piece) :],
        "repeat": raw[:place] + raw,
    }[what]


mutated_frames = st.one_of(changed_frames(), changed_frames(), damaged_frames(), st.binary(max_size=40))


def understood(raw: bytes) -> ClientFrame | None:
    try:
        return CLIENT_FRAME.validate_json(raw)
    except ValidationError:
        return None


def send(socket: ClientConnection, raw: bytes) -> None:
    """Send a frame as text where it is text, else as a binary frame, which the gateway reads all the same."""
    try:
        socket.send(raw.decode())
    except UnicodeDecodeError:
        socket.send(raw)


def answers_until_pongs(socket: ClientConnection, count: int) -> list[str]:
    """Return the types of the answers up to the last of the pongs, without what generations send meanwhile."""
    types: list[str] = []
    while types.count("pong") < count:
        frame = json.loads(socket.recv(timeout=20))
        if frame["type"] in ("error", "pong"):
            types.append(frame["type"])
        if frame["type"] == "error":
            assert frame["error"]["code"] != "internal_error"
            assert frame["error"]["message"]
    return types


@pytest.mark.timeout(240)
def test_ten_thousand_mutated_frames(gateway: Gateway, pool: Pool) -> None:
    with connect(
        gateway.socket_url, additional_headers={"Authorization": f"Bearer {ADMIN_KEY}"}, compression=None
    ) as socket:
        assert json.loads(socket.recv(timeout=20))["type"] == "session.ready"
        sent = 0

        @seed(20261122)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(mutated_frames, min_size=FRAMES_OF_ONE, max_size=FRAMES_OF_ONE))
        def frames_are_answered(frames: list[bytes]) -> None:
            nonlocal sent
            expected: list[set[str]] = []
            for raw in frames:
                frame = understood(raw)
                if frame is None:
                    expected.append({"error"})
                elif isinstance(frame, Ping):
                    expected.append({"pong"})
                send(socket, raw)
                send(socket, b'{"type": "ping"}')
            sent += len(frames)
            pings = len(frames) + sum(one == {"pong"} for one in expected)
            types = answers_until_pongs(socket, pings)
            assert types.count("error") >= sum(one == {"error"} for one in expected)

        frames_are_answered()
        assert sent >= EXAMPLES * FRAMES_OF_ONE
    assert "frame_failed" not in gateway.output
    assert "loop_failed" not in gateway.output
    assert gateway.is_ready()
    with gateway.client() as client:
        wait_until(lambda: client.get("/api/v1/workers").json()["data"], what="the worker lives")
