"""One worker as the killer sees it: its processes, and what its log says of its state."""

import os
import signal

from tests.chaos.service_log import ServiceLog
from tests.helpers.services import Service


class WorkerHandle:
    """An agent and its replica; both share one process group."""

    def __init__(self, service: Service, number: int) -> None:
        self.service = service
        self.number = number
        self.worker_id = ""
        self.replica_pid: int | None = None
        self.is_stopped = False
        """Whether the killer has stopped some of its processes."""
        self._log = ServiceLog(service.log)

    def look(self) -> "WorkerHandle":
        """Read the log's news."""
        for event in self._log.read():
            match event["event"]:
                case "worker_registered":
                    self.worker_id = event["worker_id"]
                case "replica_ready":
                    self.replica_pid = event["pid"]
                case "replica_died" | "replica_ended":
                    self.replica_pid = None
        return self

    @property
    def healthy(self) -> bool:
        """Whether it runs, is registered and has its replica ready."""
        process = self.service.process
        alive = process is not None and process.poll() is None
        return alive and not self.is_stopped and bool(self.worker_id) and self.replica_pid is not None

    def start(self) -> None:
        """Start it anew after it was killed."""
        self.service.start()

    def kill(self) -> None:
        """kill -9 the agent; its replica goes with it."""
        self.worker_id, self.replica_pid, self.is_stopped = "", None, False
        self.service.kill()

    def kill_replica(self) -> None:
        """kill -9 the replica."""
        self._signal_replica(signal.SIGKILL)
        self.replica_pid = None

    def hang_replica(self) -> None:
        """Stop the replica for good; its agent has to notice."""
        self._signal_replica(signal.SIGSTOP)
        self.replica_pid = None

    def stop(self, *, whole: bool) -> None:
        """Stop the agent; with its replica, as a suspended machine would, or while that computes on."""
        self.is_stopped = True
        if whole:
            os.killpg(self.service.pid, signal.SIGSTOP)
        else:
            os.kill(self.service.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Wake what `stop` stopped."""
        os.killpg(self.service.pid, signal.SIGCONT)
        self.is_stopped = False

    def _signal_replica(self, number: signal.Signals) -> None:
        assert self.replica_pid is not None
        os.kill(self.replica_pid, number)
