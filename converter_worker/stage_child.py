"""A stage child: one stage in one forked process, which ends with it."""

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from converter_worker import stage_messages
from converter_worker.stage_messages import Failed, Progress, RunStage, Succeeded
from converter_worker.stages.contract import StageMessage

_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
#: Blocks from this size on go back to the system when they are freed. By itself glibc raises the size with every such
#: block, and a compression then keeps a copy in float32 of every weight that it has seen: 1.47 GB for the demo model's
#: int4 instead of 0.94, in the same time.
_RETURNED_BLOCK_BYTES = 1 << 20


def run_and_exit(request: RunStage, channel: socket.socket, parent_pid: int) -> NoReturn:
    """Run the stage that the parent was asked for; called in the fresh child, and never returns."""
    exit_code = 1
    try:
        _become_own_group(parent_pid)
        _return_freed_memory()
        _redirect_output(Path(request.log_file))
        os.environ.update(request.environment)
        _limit_threads(request.threads)
        result = _run(request, channel)
        stage_messages.send(channel, Succeeded(run_id=request.run_id, result=result.model_dump(mode="json")))
        exit_code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must reach the worker and end only this process
        # Printing fails too where the disk is full, and the worker is to be told all the same.
        with contextlib.suppress(OSError):
            traceback.print_exc()
        from converter_worker.stage_errors import platform_error

        body = platform_error(error, request.stage, Path(request.log_file).parent).body()
        stage_messages.send(channel, Failed(run_id=request.run_id, error=body))
        exit_code = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        # Without the interpreter's shutdown: it would run the exit hooks of libraries that the parent set up.
        os._exit(exit_code)


def _run(request: RunStage, channel: socket.socket) -> StageMessage:
    def report(progress: float | None, message: str) -> None:
        stage_messages.send(channel, Progress(run_id=request.run_id, progress=progress, message=message))

    result = importlib.import_module(request.module).run(request.arguments, report)
    if not isinstance(result, StageMessage):
        raise TypeError(f"stage {request.stage} returned {type(result).__name__}")
    return result


def _become_own_group(parent_pid: int) -> None:
    os.setpgid(0, 0)
    # When the parent is killed the child goes too; the check closes the gap before the call.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # If memory runs out the kernel should take the stage, which can be repeated, and not the worker.
    Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _return_freed_memory() -> None:
    library = ctypes.CDLL(None)
    # Other C libraries than glibc have no such setting.
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _RETURNED_BLOCK_BYTES)


def _redirect_output(log_file: Path) -> None:
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _limit_threads(threads: int) -> None:
    # Only where it is imported already: a stage that has no use for torch does not wait for it.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
