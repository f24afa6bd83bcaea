"""The replica process: an engine and its step loop, nothing else. Started by `replica_process`.

It has its own process because a step holds Python's interpreter lock for its whole duration, and because memory of a
loaded model is only given back in full when a process ends.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inference_worker.engine import Engine, EngineSpec, Finish, TokenEvent
from inference_worker.engines.factory import create_engine
from inference_worker.engines.token_logged import TokenLoggedEngine
from inference_worker.event_gathering import EventGatherer
from inference_worker.replica_protocol import (
    AbortSequence,
    AddSequence,
    AgentMessage,
    LoadProgress,
    ReplicaFailed,
    ReplicaMessage,
    ReplicaReady,
    StartEngine,
    StepDone,
    StopReplica,
    decode_agent_message,
    encode_replica_message,
)

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
#: How long an engine with running sequences may wait for the next due token before commands are read again.
_STEP_WAIT_SECONDS = 0.02
_LIFE_SIGN_SECONDS = 1.0
_FIGURES_SECONDS = 1.0
_RECEIVE_BYTES = 1 << 20


class AgentConnection:
    """The replica's end of the socket pair: blocking writes, reads that wait only when asked to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.closed = False

    def send(self, message: ReplicaMessage) -> None:
        self._connection.sendall(encode_replica_message(message))

    def receive(self, *, wait: bool) -> list[AgentMessage]:
        """The whole messages that arrived; sets `closed` when the agent is gone."""
        messages: list[AgentMessage] = []
        while not messages or not wait:
            if not wait and not select.select([self._connection], [], [], 0)[0]:
                break
            data = self._connection.recv(_RECEIVE_BYTES)
            if not data:
                self.closed = True
                break
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            messages.extend(decode_agent_message(line) for line in lines)
        return messages


class StepLoop:
    """Feeds the engine between its steps and sends what each step made."""

    def __init__(self, engine: Engine, agent: AgentConnection, *, gather_seconds: float = 0.0) -> None:
        self._engine = engine
        self._agent = agent
        self._gatherer = EventGatherer(gather_seconds)
        self._steps_ms: list[float] = []
        self._active: set[str] = set()
        self._last_sent = 0.0
        self._last_figures = 0.0
        self._is_at_rest = True
        """Whether the agent has the figures of an engine without work."""

    def run(self) -> None:
        """Returns when the agent says stop or is gone."""
        while True:
            if not self._active and not self._is_at_rest:
                self._is_at_rest = True
                self._agent.send(StepDone((), (), self._engine.figures()))
            rejected: list[TokenEvent] = []
            for message in self._agent.receive(wait=not self._active):
                match message:
                    case AddSequence():
                        rejected.extend(self._add(message))
                    case AbortSequence(sequence_id):
                        self._active.discard(sequence_id)
                        self._gatherer.drop(sequence_id)
                        self._engine.abort(sequence_id)
                    case StopReplica():
                        return
                    case StartEngine():
                        raise ValueError("the engine is started already")
            if self._agent.closed:
                return
            if rejected:
                self._agent.send(StepDone((), tuple(rejected)))
            if self._active:
                self._step()

    def _add(self, message: AddSequence) -> Sequence[TokenEvent]:
        try:
            self._engine.add(message.sequence_id, message.token_ids, message.params)
        except (ValueError, RuntimeError) as error:
            # One bad sequence must not end the others; the agent knows from the reason that nothing was computed.
            _log.warning("sequence_rejected", extra={"generation_id": message.sequence_id, "reason": str(error)})
            return [TokenEvent(message.sequence_id, (), Finish.ENGINE_REJECTED)]
        self._active.add(message.sequence_id)
        self._is_at_rest = False
        return ()

    def _step(self) -> None:
        begin = time.perf_counter()
        events = self._engine.next_events(_STEP_WAIT_SECONDS)
        now = time.perf_counter()
        if events:
            self._steps_ms.append(round((now - begin) * 1000, 2))
        self._active.difference_update(event.sequence_id for event in events if event.finish is not None)
        due = self._gatherer.take(events, sequences=len(self._active), now=now)
        # A long prefill makes no tokens; without a sign of life the agent would take the engine for hung.
        if not due and now - self._last_sent < _LIFE_SIGN_SECONDS:
            return
        self._last_sent = now
        figures = None
        if now - self._last_figures >= _FIGURES_SECONDS:
            self._last_figures = now
            figures = self._engine.figures()
        steps_ms, self._steps_ms = tuple(self._steps_ms), []
        self._agent.send(StepDone(steps_ms, due, figures))


def run_replica(
    agent: AgentConnection, *, name: str = "", gather_seconds: float = 0.0, token_log_dir: Path | None = None
) -> int:
    """Load what the first message names, serve until stopped, and return the exit code."""
    spec = _receive_spec(agent)
    if spec is None:
        return 0
    if spec.cores:
        _hold_to(spec.cores)
    engine: Engine | None = None
    try:
        engine = create_engine(spec)
        if token_log_dir is not None:
            engine = TokenLoggedEngine(engine, token_log_dir, name=name)
        info = engine.start(lambda progress: agent.send(LoadProgress(progress)))
        agent.send(ReplicaReady(info))
        StepLoop(engine, agent, gather_seconds=gather_seconds).run()
    except BrokenPipeError:
        return 0  # The agent is gone and nobody is left to be told.
    except Exception as error:  # noqa: BLE001 - whatever the runtime raises is the agent's to report.
        agent.send(ReplicaFailed(f"{type(error).__name__}: {error}"))
        return 1
    finally:
        if engine is not None:
            engine.stop()
    return 0


def _receive_spec(agent: AgentConnection) -> EngineSpec | None:
    for message in agent.receive(wait=True):
        if isinstance(message, StartEngine):
            return message.spec
    return None


def _hold_to(cores: Sequence[int]) -> None:
    """Have every thread that is started from now on run on these cores."""
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:  # The container's cores were changed since its worker looked.
        _log.warning("replica_not_pinned", extra={"cores": list(cores), "reason": str(error)})


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel end this process when the agent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)  # It ended before the line above took effect.


def main() -> int:
    """Entry of `python -m inference_worker.replica`."""
    parser = argparse.ArgumentParser(description="Engine process of one variant; started by the agent.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the agent")
    parser.add_argument("--parent-pid", type=int, required=True, help="process whose end ends this one")
    parser.add_argument("--name", default="", help="model:variant, shown in the process list")
    parser.add_argument("--gather-ms", type=float, default=0.0, help="how long tokens wait for others when many run")
    parser.add_argument("--token-log-dir", type=Path, help="folder of a record of every token, for tests")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent_pid)
    # A terminal's Ctrl-C goes to the whole group; when to end is the agent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=arguments.fd) as connection:
        return run_replica(
            AgentConnection(connection),
            name=arguments.name,
            gather_seconds=arguments.gather_ms / 1000,
            token_log_dir=arguments.token_log_dir,
        )


if __name__ == "__main__":
    sys.exit(main())
