"""The agent's handle on a replica process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from inference_worker.engine import EngineInfo, EngineSpec, SamplingParams
from inference_worker.load_reasons import runtime_reason
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
    decode_replica_message,
    encode_agent_message,
)
from shared.errors import LoadFailed
from shared.log import get_logger

_log = get_logger(__name__)

#: Longest line that a replica sends: one step's tokens of all its sequences.
_LINE_LIMIT_BYTES = 1 << 24
_STOP_GRACE_SECONDS = 5.0


class ReplicaProcess:
    """One replica: start it, feed it, iterate over its steps until it is gone.

    The socket's end tells that the process is gone as soon as the kernel has closed its files, without polling.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self.name = name
        self._process = process
        self._reader = reader
        self._writer = writer
        self.failure: str | None = None
        """What the replica said of its end, if it could still say something."""

    @classmethod
    async def start(
        cls,
        spec: EngineSpec,
        *,
        name: str,
        timeout_seconds: float,
        report_progress: Callable[[float], None] | None = None,
        gather_ms: float = 0.0,
        token_log_dir: Path | None = None,
    ) -> tuple[ReplicaProcess, EngineInfo]:
        """Start a process and load `spec` in it.

        Args:
            spec: what to load.
            name: ``model:variant``.
            timeout_seconds: longest time that it may take.
            report_progress: takes 0-1.
            gather_ms: how long tokens wait for others when many sequences run.
            token_log_dir: gets a record of every token.

        Raises:
            LoadFailed: the engine could not load, the process died, or the time is over; the process is ended.
        """
        replica = await cls._spawn(name, gather_ms, token_log_dir)
        try:
            async with asyncio.timeout(timeout_seconds):
                replica._send(StartEngine(spec))
                while (message := await replica._receive()) is not None:
                    if isinstance(message, ReplicaReady):
                        return replica, message.info
                    if isinstance(message, ReplicaFailed):
                        # Where in the runtime it happened is for whoever reads the log.
                        _log.error("engine_not_started", variant=name, reason=message.message)
                        raise LoadFailed(f"{name} could not be loaded: {runtime_reason(message.message)}")
                    if isinstance(message, LoadProgress) and report_progress is not None:
                        report_progress(message.progress)
                code = await replica.wait()
                raise LoadFailed(f"{name} could not be loaded: the engine process ended with code {code}")
        except TimeoutError:
            await replica.kill()
            raise LoadFailed(f"{name} could not be loaded within {timeout_seconds:g} s") from None
        except BaseException:
            await replica.kill()
            raise

    @classmethod
    async def _spawn(cls, name: str, gather_ms: float, token_log_dir: Path | None) -> ReplicaProcess:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "inference_worker.replica",
                f"--fd={theirs.fileno()}",
                f"--parent-pid={os.getpid()}",
                f"--name={name}",
                f"--gather-ms={gather_ms:g}",
                *(() if token_log_dir is None else (f"--token-log-dir={token_log_dir}",)),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            # The replica must hold the only copy of its end, or its death would go unnoticed.
            theirs.close()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT_BYTES)
        return cls(process, reader, writer, name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        """Hand over a sequence; a replica that is gone ignores it, and `steps` tells so."""
        self._send(AddSequence(sequence_id, tuple(token_ids), params))

    def abort(self, sequence_id: str) -> None:
        """End a sequence. Events of it that were under way may still arrive and are the caller's to drop."""
        self._send(AbortSequence(sequence_id))

    async def steps(self) -> AsyncIterator[StepDone]:
        """Each step's events, until the process is gone; `failure` and `wait` tell why."""
        while (message := await self._receive()) is not None:
            if isinstance(message, StepDone):
                yield message
            elif isinstance(message, ReplicaFailed):
                self.failure = message.message

    async def wait(self) -> int:
        """The exit code, once there is one."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and make it end when it does not within some seconds."""
        self._send(StopReplica())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP_GRACE_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """End it at once; idempotent."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def resident_bytes(self) -> int:
        """Memory that the process holds now, 0 once it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * resource.getpagesize()

    def _send(self, message: AgentMessage) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode_agent_message(message))

    async def _receive(self) -> ReplicaMessage | None:
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return decode_replica_message(line) if line.endswith(b"\n") else None
