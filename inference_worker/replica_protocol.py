"""Messages between an agent and its replica: one JSON object a line over a socket pair, many lines a write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, assert_never

import orjson

from inference_worker.engine import (
    EngineFigures,
    EngineInfo,
    EngineSpec,
    Finish,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
)


@dataclass(frozen=True, slots=True)
class StartEngine:
    """Agent to replica, first and once: load this."""

    spec: EngineSpec


@dataclass(frozen=True, slots=True)
class AddSequence:
    """Agent to replica: compute this sequence."""

    sequence_id: str
    token_ids: tuple[int, ...]
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class AbortSequence:
    """Agent to replica: end this sequence without an event."""

    sequence_id: str


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Agent to replica: free everything and exit."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Replica to agent while loading; 0–1."""

    progress: float


@dataclass(frozen=True, slots=True)
class ReplicaReady:
    """Replica to agent: the engine is started."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class StepDone:
    """Replica to agent: what the steps since the last message made, where it is due.

    `steps_ms` are the durations of those that made tokens. Now and then, and at rest, the engine's figures come along.
    """

    steps_ms: tuple[float, ...]
    events: tuple[TokenEvent, ...]
    figures: EngineFigures | None = None


@dataclass(frozen=True, slots=True)
class ReplicaFailed:
    """Replica to agent, last: the engine did not start, or broke while running."""

    message: str


AgentMessage: TypeAlias = StartEngine | AddSequence | AbortSequence | StopReplica
ReplicaMessage: TypeAlias = LoadProgress | ReplicaReady | StepDone | ReplicaFailed


def encode_agent_message(message: AgentMessage) -> bytes:
    """One line for the replica."""
    match message:
        case AddSequence(sequence_id, token_ids, params):
            value: Any = {"t": "add", "id": sequence_id, "ids": token_ids, "params": asdict(params)}
        case AbortSequence(sequence_id):
            value = {"t": "abort", "id": sequence_id}
        case StartEngine(spec):
            value = {"t": "start", "spec": spec.to_json()}
        case StopReplica():
            value = {"t": "stop"}
        case _:
            assert_never(message)
    return orjson.dumps(value) + b"\n"


def decode_agent_message(line: bytes) -> AgentMessage:
    """Raises ValueError for a line that is no message of an agent."""
    value = orjson.loads(line)
    match value.get("t"):
        case "add":
            params = value["params"]
            params["stop_token_ids"] = tuple(params["stop_token_ids"])
            return AddSequence(value["id"], tuple(value["ids"]), SamplingParams(**params))
        case "abort":
            return AbortSequence(value["id"])
        case "start":
            return StartEngine(EngineSpec.from_json(value["spec"]))
        case "stop":
            return StopReplica()
    raise ValueError("unknown message of an agent")


def encode_replica_message(message: ReplicaMessage) -> bytes:
    """One line for the agent."""
    match message:
        case StepDone(steps_ms, events, figures):
            value: Any = {"t": "step", "ms": steps_ms, "e": _pack(events)}
            if figures is not None:
                value["f"] = asdict(figures)
        case LoadProgress(progress):
            value = {"t": "loading", "progress": progress}
        case ReplicaReady(info):
            value = {"t": "ready", "info": asdict(info)}
        case ReplicaFailed(text):
            value = {"t": "failed", "message": text}
        case _:
            assert_never(message)
    return orjson.dumps(value) + b"\n"


def decode_replica_message(line: bytes) -> ReplicaMessage:
    """Raises ValueError for a line that is no message of a replica."""
    value = orjson.loads(line)
    match value.get("t"):
        case "step":
            figures = EngineFigures(**value["f"]) if "f" in value else None
            return StepDone(tuple(value["ms"]), tuple(_unpack(*event) for event in value["e"]), figures)
        case "loading":
            return LoadProgress(value["progress"])
        case "ready":
            info = value["info"]
            info["eos_token_ids"] = tuple(info["eos_token_ids"])
            info["unsupported"] = tuple(info["unsupported"])
            return ReplicaReady(EngineInfo(**info))
        case "failed":
            return ReplicaFailed(value["message"])
    raise ValueError("unknown message of a replica")


def _pack(events: Sequence[TokenEvent]) -> list[tuple[Any, ...]]:
    """A tuple an event; log probabilities and cached tokens follow where there are any."""
    return [
        (
            event.sequence_id,
            event.token_ids,
            event.finish,
            [(item.logprob, item.top) for item in event.logprobs],
            event.cached_tokens,
        )
        if event.logprobs or event.cached_tokens is not None
        else (event.sequence_id, event.token_ids, event.finish)
        for event in events
    ]


def _unpack(
    sequence_id: str,
    token_ids: list[int],
    finish: str | None,
    logprobs: Sequence[tuple[float, list[list[Any]]]] = (),
    cached_tokens: int | None = None,
) -> TokenEvent:
    return TokenEvent(
        sequence_id,
        tuple(token_ids),
        Finish(finish) if finish else None,
        tuple(TokenLogprob(value, tuple((id_, other) for id_, other in top)) for value, top in logprobs),
        cached_tokens,
    )
