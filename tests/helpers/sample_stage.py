"""A stage without a model, for tests of the processes around a stage."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import NotCausalLm


class Result(StageMessage):
    environment: dict[str, str]
    pid: int
    parent_pid: int


def run(arguments: dict[str, object], report: ReportProgress) -> Result:
    """Do what `arguments["action"]` says."""
    report(0.5, "half way")
    match arguments["action"]:
        case "succeed":
            print("a line on standard output", flush=True)  # noqa: T201
        case "fail":
            raise NotCausalLm("this is an encoder")
        case "break":
            raise KeyError("surprise")
        case "fill_disk":
            raise RuntimeError("wrapped") from OSError(errno.ENOSPC, "No space left on device")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "hang":
            time.sleep(600)
        case "hang_stubbornly":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            report(0.6, "deaf")
            time.sleep(600)
        case "hang_with_grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(str(arguments["pid_file"])).write_text(str(child.pid))
            report(0.6, "grandchild")
            time.sleep(600)
    return Result(environment=dict(os.environ), pid=os.getpid(), parent_pid=os.getppid())
