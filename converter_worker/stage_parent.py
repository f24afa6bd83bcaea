"""The stage parent: imports the conversion libraries once and forks a child for every heavy stage.

It does no work of its own, so its memory does not grow and a fork is cheap; a child gives all its memory back by
exiting. Run as `python -m converter_worker.stage_parent FD [--lazy]`, where FD is its end of a SEQPACKET socket pair;
with `--lazy` each child imports what it needs. It ends, with all its children, when the other end is closed.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from converter_worker import stage_child, stage_messages
from converter_worker.stage_messages import Exited, Ready, RunStage, Started, StopStage

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class StageParent:
    """Forks, watches and ends children on request."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._run_ids: dict[int, str] = {}
        self._oom_kills: dict[int, int] = {}
        #: When a child that was asked to stop is killed, on the monotonic clock.
        self._kill_at: dict[int, float] = {}

    def serve(self) -> None:
        """Serve until the worker's end of the channel is closed; no child outlives this call."""
        with self._child_exits() as exits, selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(exits, selectors.EVENT_READ)
            try:
                while True:
                    ready = {key.fileobj for key, _ in selector.select(self._kill_overdue())}
                    if exits in ready:
                        exits.recv(4096)
                        self._reap()
                    if self._channel in ready and not self._serve_request():
                        return
            finally:
                self._kill_all()

    def _serve_request(self) -> bool:
        request = stage_messages.receive_request(self._channel)
        if request is None:
            return False
        if isinstance(request, RunStage):
            self._fork(request)
        else:
            self._stop(request)
        return True

    def _fork(self, request: RunStage) -> None:
        kills = _oom_kills()
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            stage_child.run_and_exit(request, self._channel, parent_pid)
        # The child makes itself a group leader too; whoever comes first wins, so that a stop can never miss it.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._run_ids[pid] = request.run_id
        self._oom_kills[pid] = kills
        stage_messages.send(self._channel, Started(run_id=request.run_id, pid=pid))

    def _stop(self, request: StopStage) -> None:
        for pid, run_id in self._run_ids.items():
            if run_id == request.run_id:
                _signal_group(pid, signal.SIGTERM)
                self._kill_at[pid] = time.monotonic() + request.grace_seconds

    def _kill_overdue(self) -> float | None:
        """Kill who has outlived its grace; return the seconds until the next one has, None if there is none."""
        now = time.monotonic()
        for pid, deadline in self._kill_at.items():
            if deadline <= now:
                _signal_group(pid, signal.SIGKILL)
        return min((deadline - now for deadline in self._kill_at.values() if deadline > now), default=None)

    def _reap(self) -> None:
        while self._run_ids:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            run_id = self._run_ids.pop(pid, None)
            if run_id is None:
                continue
            self._kill_at.pop(pid, None)
            # Whatever the stage itself started goes with it.
            _signal_group(pid, signal.SIGKILL)
            stage_messages.send(
                self._channel,
                Exited(
                    run_id=run_id,
                    exit_code=os.waitstatus_to_exitcode(status),
                    out_of_memory=_oom_kills() > self._oom_kills.pop(pid),
                    peak_bytes=usage.ru_maxrss * 1024,
                    resident_bytes=resident_bytes(),
                ),
            )

    def _kill_all(self) -> None:
        for pid in self._run_ids:
            _signal_group(pid, signal.SIGKILL)
        for pid in self._run_ids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    @contextlib.contextmanager
    def _child_exits(self) -> Iterator[socket.socket]:
        """Give a socket that becomes readable when a child exits."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.signal(signal.SIGCHLD, _note_signal)
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(previous)
            reader.close()
            writer.close()


def _note_signal(_number: int, _frame: object) -> None:
    """Make the signal reach the wake-up socket: an ignored one does not."""


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _oom_kills() -> int:
    """Return how often the kernel has ended a process for want of memory since it started; 0 if it hides it."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_BYTES


def main() -> None:
    """Import the libraries, say so, and serve."""
    # An interrupt typed into the terminal is the worker's business, which ends this process by closing the channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    if "--lazy" not in sys.argv:
        from converter_worker.preloading import preload

        preload()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stage_messages.send(channel, Ready(resident_bytes=resident_bytes()))
        StageParent(channel).serve()
    # Taking the libraries down in good order takes seconds, and the worker waits for this process to end.
    os._exit(0)


if __name__ == "__main__":
    main()
