"""One stage runner, so one preloaded parent process, for each version stack that is in use."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from converter_worker.stage_runner import StageRun, StageRunner, StageStopped
from converter_worker.version_stacks import VersionStacks
from shared.log import get_logger

log = get_logger(__name__)

#: Makes the runner of a stack; the folder is put first on its processes' path, None for the base environment.
MakeRunner = Callable[[Path | None], StageRunner]


@dataclass
class _StackRunner:
    """A stack's runner; `stages` are at work in it, `used_at` is when the last one ended, on the monotonic clock."""

    runner: StageRunner
    stages: int = 0
    used_at: float = field(default_factory=time.monotonic)


class StageRunners:
    """Runs stages, each in its stack's runner, which is made when it is first needed; safe for several threads.

    A parent without work holds about half a gigabyte: it is ended after `idle_seconds`, and at once when a second stack
    beside the default's is needed.
    """

    def __init__(self, stacks: VersionStacks, make: MakeRunner, *, idle_seconds: float) -> None:
        self._stacks = stacks
        self._make = make
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._runners: dict[str, _StackRunner] = {}
        self._keeps_default = False
        self._is_closed = False

    def preload(self) -> None:
        """Start the default stack's parent, and keep it however long it has nothing to do."""
        self._keeps_default = True
        with self._lock:
            self._runner(self._stacks.default).runner.preload()

    def run(self, stage_run: StageRun) -> dict[str, JsonValue]:
        """Run a stage in a child of its stack's parent and return its result.

        Raises:
            FamilyNotExported: the stack is not installed any more.
            StageStopped, PlatformError: as `StageRunner.run`.
        """
        stack = stage_run.stack or self._stacks.default
        with self._lock:
            chosen = self._runner(stack)
            chosen.stages += 1
            default = self._stacks.default
            others = set() if stack == default else self._runners.keys() - {stack, default}
            superfluous = self._take_idle(others, older_than_seconds=0.0)
        try:
            _close(superfluous)
            return chosen.runner.run(stage_run)
        finally:
            with self._lock:
                chosen.stages -= 1
                chosen.used_at = time.monotonic()

    def end_idle(self) -> None:
        """End the parents that nobody has needed for a while."""
        kept = {self._stacks.default} if self._keeps_default else set()
        with self._lock:
            idle = self._take_idle(self._runners.keys() - kept, older_than_seconds=self._idle_seconds)
        _close(idle)

    def close(self) -> None:
        """End all parents and whatever they run; idempotent."""
        with self._lock:
            self._is_closed = True
            runners = [entry.runner for entry in self._runners.values()]
        for runner in runners:
            runner.close()

    def _runner(self, stack: str) -> _StackRunner:
        if self._is_closed:
            raise StageStopped
        if stack not in self._runners:
            self._runners[stack] = _StackRunner(self._make(self._stacks.overlay(stack)))
        return self._runners[stack]

    def _take_idle(self, candidates: Iterable[str], *, older_than_seconds: float) -> dict[str, StageRunner]:
        """Take out the runners that have no work; whoever needs their stack next gets a fresh one."""
        now = time.monotonic()
        names = [
            name
            for name in candidates
            if self._runners[name].stages == 0 and now - self._runners[name].used_at >= older_than_seconds
        ]
        return {name: self._runners.pop(name).runner for name in names}


def _close(runners: dict[str, StageRunner]) -> None:
    for stack, runner in runners.items():
        runner.close()
        log.info("stage_parent_ended", stack=stack)
