"""One stage parent process and the socket to it: sends requests, hands each run the reports that are its own."""

import contextlib
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from converter_worker import stage_messages
from converter_worker.stage_environment import stage_environment
from converter_worker.stage_messages import Exited, Failed, Progress, Ready, RunStage, Started, StopStage, Succeeded

#: From SIGTERM to SIGKILL.
STOP_GRACE_SECONDS = 3.0

RunReport = Started | Progress | Succeeded | Failed | Exited
#: A run's reports; None is the last one and says that the parent is gone.
Mailbox = queue.SimpleQueue[RunReport | None]


class ParentLink:
    """Safe for several threads; ends the parent, and with it every child, when closed."""

    def __init__(self, *, options: Sequence[str] = (), telemetry: bool = False, overlay: Path | None = None) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "converter_worker.stage_parent", str(there.fileno()), *options],
                pass_fds=(there.fileno(),),
                env=stage_environment(telemetry=telemetry, overlay=overlay),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel = here
        self._lock = threading.Lock()
        self._mailboxes: dict[str, Mailbox] = {}
        self._is_retired = False
        self._is_lost = False
        #: Resident memory of the parent when it had imported everything; None until then.
        self.ready_bytes: int | None = None
        self._reader = threading.Thread(target=self._read, name="stage-parent-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The parent's process id."""
        return self._parent.pid

    @property
    def takes_runs(self) -> bool:
        """Whether another run may be begun here."""
        return not self._is_retired and not self._is_lost and self._parent.poll() is None

    @property
    def is_closed(self) -> bool:
        """Whether the parent has ended and its children with it."""
        return self._is_lost and self._parent.poll() is not None

    def begin(self, request: RunStage) -> Mailbox:
        """Ask for a run and return where its reports will be; raises OSError when the parent is gone."""
        mailbox: Mailbox = queue.SimpleQueue()
        with self._lock:
            if self._is_lost:
                raise ConnectionResetError("the stage parent is gone")
            self._mailboxes[request.run_id] = mailbox
        self._send(request)
        return mailbox

    def stop(self, run_id: str) -> None:
        """Ask for a run's end; raises OSError when the parent is gone."""
        self._send(StopStage(run_id=run_id, grace_seconds=STOP_GRACE_SECONDS))

    def forget(self, run_id: str) -> None:
        """Nobody reads a run's reports any more; a retired parent ends with its last run."""
        with self._lock:
            self._mailboxes.pop(run_id, None)
            is_done = self._is_retired and not self._mailboxes
        if is_done:
            self.close()

    def retire(self) -> None:
        """Take no further run, and end when those that are at work have."""
        with self._lock:
            self._is_retired = True
            is_done = not self._mailboxes
        if is_done:
            self.close()

    def close(self) -> None:
        """End the parent and whatever it runs; idempotent."""
        self._is_retired = True
        # Shutting down wakes the reader; the parent sees the end and kills its children.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._parent.wait(timeout=STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            # It is still importing, or stuck; its children have the kernel's order to die with it.
            self._parent.kill()
            self._parent.wait()
        self._reader.join()
        self._channel.close()

    def _send(self, request: RunStage | StopStage) -> None:
        with self._lock:
            stage_messages.send(self._channel, request)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while (report := stage_messages.receive_report(self._channel)) is not None:
                if isinstance(report, Ready):
                    self.ready_bytes = report.resident_bytes
                    continue
                with self._lock:
                    mailbox = self._mailboxes.get(report.run_id)
                if mailbox is not None:
                    mailbox.put(report)
        with self._lock:
            self._is_lost = True
            waiting = list(self._mailboxes.values())
        for mailbox in waiting:
            mailbox.put(None)
