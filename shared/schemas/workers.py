"""What an agent tells of itself, and what it is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.schemas.common import Message
from shared.schemas.engine_config import EngineSettingView

ReplicaState = Literal["loading", "ready", "unloading", "failed"]


class ReplicaInfo(Message):
    """One loaded variant of a worker."""

    model: str
    variant: str
    state: ReplicaState
    slots: int = Field(0, description="Generations it can work on at once.")
    host_kind: str = Field("", description="Tunings of this kind of host are for it.")
    engine: dict[str, EngineSettingView] = Field({}, description="What it runs with, and where each value came from.")
    running: int = 0
    context_length: int | None = None
    memory_bytes: int | None = Field(None, description="Resident memory of the process.")
    reserved_bytes: int = Field(0, description="Memory of the host that is reserved for it.")
    cores: tuple[int, ...] = Field((), description="CPU cores that it is held to; none where it may use all.")
    pinned: bool = Field(False, description="It is never ended to make room or for being idle.")
    idle_seconds: float = Field(0.0, description="How long nothing has been assigned to it.")
    load_progress: float | None = None
    load_seconds: float | None = None
    step_ms: float | None = Field(None, description="Recent duration of an engine step, 95th percentile.")
    generated_tokens: int = 0
    prompt_tokens: int = 0

    @property
    def key(self) -> str:
        """``model:variant``."""
        return f"{self.model}:{self.variant}"


class WorkerInfo(Message):
    """One agent in the registry and in ``GET /api/v1/workers``."""

    worker_id: str
    host_id: str = Field(description="Workers with the same one share memory and cores.")
    node: str = Field("", description="Name of the machine or container that the worker runs on.")
    device: str
    device_name: str
    engine: str
    state: Literal["starting", "ready", "draining"]
    cores: tuple[int, ...] = Field((), description="CPU cores that it may run on.")
    replicas: tuple[ReplicaInfo, ...] = ()
    max_replicas: int
    free_memory_bytes: int | None = None
    memory_budget_bytes: int | None = Field(None, description="Memory that all replicas of the host may take.")
    memory_reserved_bytes: int = Field(0, description="What this worker's replicas have reserved of it.")
    versions: dict[str, str] = Field(default_factory=dict)
    started_ms: int
    generated_tokens: int = Field(0, description="Tokens generated since the worker started.")


class Generate(Message):
    """Assignment: answer a generation whose slot was reserved."""

    kind: Literal["generate"] = "generate"
    generation_id: str
    attempt: int
    variant: str
    waited_ms: float


class CancelGeneration(Message):
    """Command: end a generation now."""

    kind: Literal["cancel"] = "cancel"
    generation_id: str


class LoadVariant(Message):
    """Command: start a replica of ``model:variant``."""

    kind: Literal["load"] = "load"
    variant: str


class UnloadVariant(Message):
    """Command: end the replica of ``model:variant`` once it is idle, or only where it is idle and not pinned."""

    kind: Literal["unload"] = "unload"
    variant: str
    only_idle: bool = False


class Drain(Message):
    """Command: take nothing new."""

    kind: Literal["drain"] = "drain"


WorkerCommand = Annotated[
    Generate | CancelGeneration | LoadVariant | UnloadVariant | Drain, Field(discriminator="kind")
]
#: Field ``c`` of an entry in a worker's stream.
WORKER_COMMAND: TypeAdapter[WorkerCommand] = TypeAdapter(WorkerCommand)
