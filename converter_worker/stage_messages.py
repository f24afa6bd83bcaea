"""What the worker, the stage parent and the stage children say to each other.

One message is one packet of a Unix SEQPACKET socket, in JSON. The parent and its children write into the same socket,
so a child's result is always read before the parent's word that the child has exited.
"""

import socket
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from shared.errors import ErrorBody

MAX_PACKET_BYTES = 128 << 10


class _Packet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunStage(_Packet):
    """Fork a child for a stage.

    `module` is the stage's module (`stages/contract.py`), `log_file` takes what the child prints, and `environment` is
    added to its environment.
    """

    type: Literal["run"] = "run"
    run_id: str
    stage: str
    module: str
    arguments: dict[str, JsonValue]
    log_file: str
    threads: int
    environment: dict[str, str] = {}


class StopStage(_Packet):
    """End the process group of a run: SIGTERM, and SIGKILL when it is still there after the grace."""

    type: Literal["stop"] = "stop"
    run_id: str
    grace_seconds: float


class Ready(_Packet):
    """The parent has imported everything."""

    type: Literal["ready"] = "ready"
    resident_bytes: int


class Started(_Packet):
    """The child of a run exists; its process id is also its process group."""

    type: Literal["started"] = "started"
    run_id: str
    pid: int


class Progress(_Packet):
    """How far a run is, from 0 to 1; None where it is not known."""

    type: Literal["progress"] = "progress"
    run_id: str
    progress: float | None
    message: str


class Succeeded(_Packet):
    """A run's result."""

    type: Literal["succeeded"] = "succeeded"
    run_id: str
    result: dict[str, JsonValue]


class Failed(_Packet):
    """A run ended with an error that has a name."""

    type: Literal["failed"] = "failed"
    run_id: str
    error: ErrorBody


class Exited(_Packet):
    """A run's process is gone: `exit_code` as waitpid has it, negative for a signal; always a run's last packet.

    `resident_bytes` is the parent's size, `peak_bytes` the most that the child had.
    """

    type: Literal["exited"] = "exited"
    run_id: str
    exit_code: int
    out_of_memory: bool
    peak_bytes: int
    resident_bytes: int


Request = Annotated[RunStage | StopStage, Field(discriminator="type")]
Report = Annotated[Ready | Started | Progress | Succeeded | Failed | Exited, Field(discriminator="type")]
_REQUEST: TypeAdapter[RunStage | StopStage] = TypeAdapter(Request)
_REPORT: TypeAdapter[Ready | Started | Progress | Succeeded | Failed | Exited] = TypeAdapter(Report)


def send(channel: socket.socket, packet: _Packet) -> None:
    """Send one packet; raises OSError when the other side is gone."""
    channel.sendall(packet.model_dump_json().encode())


def receive_request(channel: socket.socket) -> RunStage | StopStage | None:
    """Return the next request, None when the worker is gone."""
    packet = channel.recv(MAX_PACKET_BYTES)
    return _REQUEST.validate_json(packet) if packet else None


def receive_report(channel: socket.socket) -> Ready | Started | Progress | Succeeded | Failed | Exited | None:
    """Return the next report, None when the parent and all its children are gone."""
    packet = channel.recv(MAX_PACKET_BYTES)
    return _REPORT.validate_json(packet) if packet else None
