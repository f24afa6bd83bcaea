"""The processes around a stage, with a stage that needs no model."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from converter_worker.stage_runner import STOP_GRACE_SECONDS, StageRun, StageRunner, StageStopped, StageUsage
from shared.errors import DiskFull, InternalError, NotCausalLm, StageCrashed, StageTimedOut

MODULE = "tests.helpers.sample_stage"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[StageRunner]:
    monkeypatch.setenv("OVCHAT_REDIS_URL", "redis://secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    runner = StageRunner(lazy=True)
    yield runner
    runner.close()


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., StageRun]:
    def make(action: str, **options: object) -> StageRun:
        arguments = {"action": action, "pid_file": str(tmp_path / "pid")}
        values = {"time_limit_seconds": 60.0, **options}
        return StageRun("sample", arguments, tmp_path / "stage.log", module=MODULE, **values)  # type: ignore[arg-type]

    return make


def gone(pid: int, within_seconds: float = 5.0) -> bool:
    try:
        psutil.Process(pid).wait(timeout=within_seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_a_log_that_cannot_be_written_does_not_hide_what_is_wrong(
    runner: StageRunner, sample: Callable[..., StageRun]
) -> None:
    """On a full disk the child failed once more while it printed its failure: it went on as a second stage parent."""
    with pytest.raises(NotCausalLm):
        runner.run(replace(sample("fail"), log_file=Path("/dev/full")))


def test_a_result_comes_back_with_progress_and_log(
    runner: StageRunner, sample: Callable[..., StageRun], tmp_path: Path
) -> None:
    seen: list[tuple[float | None, str]] = []
    result = runner.run(sample("succeed", on_progress=lambda progress, message: seen.append((progress, message))))
    assert seen == [(0.5, "half way")]
    assert gone(int(str(result["pid"])))
    assert (tmp_path / "stage.log").read_text() == "a line on standard output\n"


def test_a_child_sees_no_setting_no_token_and_telemetry_off(
    runner: StageRunner, sample: Callable[..., StageRun]
) -> None:
    environment = runner.run(sample("succeed", environment={"EXTRA": "1"}))["environment"]
    assert isinstance(environment, dict)
    assert not [name for name in environment if name.startswith("OVCHAT_") or name == "HF_TOKEN"]
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["CI"] == "true"
    assert environment["EXTRA"] == "1"


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("fail", NotCausalLm),
        ("break", InternalError),
        ("fill_disk", DiskFull),
        ("crash", StageCrashed),
        ("exit", StageCrashed),
    ],
)
def test_a_failure_has_a_code_and_the_next_stage_runs(
    runner: StageRunner, sample: Callable[..., StageRun], action: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        runner.run(sample(action))
    assert runner.run(sample("succeed"))["pid"]


def test_a_killed_child_is_a_crash(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    def kill(progress: float | None, message: str) -> None:
        assert runner.child_pid is not None
        os.kill(runner.child_pid, signal.SIGKILL)

    with pytest.raises(StageCrashed, match="signal 9"):
        runner.run(sample("hang", on_progress=kill))


def test_a_stop_ends_the_child_and_what_it_started(
    runner: StageRunner, sample: Callable[..., StageRun], tmp_path: Path
) -> None:
    stop, pids = threading.Event(), []

    def note(progress: float | None, message: str) -> None:
        if message == "grandchild":
            pids.append(runner.child_pid)
            stop.set()

    started = time.monotonic()
    with pytest.raises(StageStopped):
        runner.run(sample("hang_with_grandchild", on_progress=note, should_stop=stop.is_set))
    assert time.monotonic() - started < 10
    assert gone(pids[0] or 0)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_deaf_child_is_killed_after_the_grace(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    stop = threading.Event()
    started: list[float] = []

    def note(progress: float | None, message: str) -> None:
        if message == "deaf":
            started.append(time.monotonic())
            stop.set()

    with pytest.raises(StageStopped):
        runner.run(sample("hang_stubbornly", on_progress=note, should_stop=stop.is_set))
    assert time.monotonic() - started[0] < STOP_GRACE_SECONDS + 3


def test_the_time_limit_ends_a_stage(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    with pytest.raises(StageTimedOut, match="OVCHAT_STAGE_TIME_LIMIT_SECONDS"):
        runner.run(sample("hang", time_limit_seconds=1.0))


def test_closing_from_another_thread_ends_a_running_stage(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    """A signal handler closes the runner while its thread waits in select: it must wake and not wait for the stage."""
    pids: list[int] = []

    def close(progress: float | None, message: str) -> None:
        assert runner.child_pid is not None
        pids.append(runner.child_pid)
        threading.Thread(target=runner.close).start()

    with pytest.raises(StageStopped):
        runner.run(sample("hang", on_progress=close))
    assert gone(pids[0])


def test_stages_run_side_by_side(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    """Variants are compressed at once: a stage must get its own reports, not those of the one beside it."""
    first_runs, stop = threading.Event(), threading.Event()
    seen: list[str] = []

    def hang() -> None:
        with pytest.raises(StageStopped):
            runner.run(sample("hang", on_progress=lambda *_: first_runs.set(), should_stop=stop.is_set))
        seen.append("stopped")

    thread = threading.Thread(target=hang)
    thread.start()
    assert first_runs.wait(30)
    hanging = runner.child_pid
    usages: list[StageUsage] = []
    result = runner.run(sample("succeed", on_exit=usages.append))
    assert result["pid"] != hanging
    assert runner.child_pid == hanging
    assert usages[0].peak_bytes > 1 << 20
    stop.set()
    thread.join(timeout=10)
    assert seen == ["stopped"]


def test_the_neighbour_of_a_crash_ends_in_peace(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    """A crash makes the parent doubtful; replacing it must not kill the other variant that is being compressed."""
    first_runs, go_on = threading.Event(), threading.Event()
    outcome: list[type[Exception]] = []

    def hang() -> None:
        try:
            runner.run(sample("hang", on_progress=lambda *_: first_runs.set(), should_stop=go_on.is_set))
        except (StageStopped, StageCrashed) as error:
            outcome.append(type(error))

    thread = threading.Thread(target=hang)
    thread.start()
    assert first_runs.wait(30)
    old_parent = runner.parent_pid
    with pytest.raises(StageCrashed):
        runner.run(sample("crash"))
    assert runner.run(sample("succeed"))["pid"]
    assert runner.parent_pid != old_parent
    assert not outcome
    go_on.set()
    thread.join(timeout=10)
    assert outcome == [StageStopped]
    assert gone(old_parent or 0)


def test_what_a_caller_gives_up_does_not_go_on(runner: StageRunner, sample: Callable[..., StageRun]) -> None:
    """A job that was taken over raises from its progress report: its child must not work on beside the new one's."""
    pids: list[int | None] = []

    def give_up(progress: float | None, message: str) -> None:
        pids.append(runner.child_pid)
        raise LookupError

    with pytest.raises(LookupError):
        runner.run(sample("hang", on_progress=give_up))
    assert gone(pids[0] or 0)


def test_no_process_outlives_a_killed_worker(tmp_path: Path) -> None:
    """A worker that is killed cannot clean up; without care its stage would go on for hours beside its successor."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from converter_worker.stage_runner import StageRun, StageRunner
        runner = StageRunner(lazy=True)
        def note(*_):
            Path({str(pids)!r}).write_text(f"{{runner.child_pid}} {{runner.parent_pid}}")
        runner.run(StageRun("sample", {{"action": "hang"}}, Path({str(tmp_path / "log")!r}), 60.0, module={MODULE!r},
                            on_progress=note))
        """
    )
    with subprocess.Popen([sys.executable, "-c", program]) as worker:
        child, parent = (int(pid) for pid in pids.read_text().split())
        worker.kill()
    assert gone(child)
    assert gone(parent)
