from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.supervision import SupervisionRule, Supervisor
from shared.errors import Unavailable
from tests.unit.deploy_local.processes import (
    DEAF,
    OBEDIENT,
    PARENT,
    command,
    is_running,
    printed_ids,
    printed_lines,
    until_gone,
)

QUICK = SupervisionRule(first_pause_seconds=0.01, longest_pause_seconds=0.02)


async def test_leaving_stops_everything_in_reverse_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with Supervisor() as supervisor:
        for name in ("first", "second", "third"):
            await supervisor.start(command(tmp_path, name, OBEDIENT))
        ids = [(await printed_ids(tmp_path / f"{name}.log"))[0] for name in ("first", "second", "third")]
        assert all(is_running(number) for number in ids)
    assert not any(is_running(number) for number in ids)
    said = capfd.readouterr().out.splitlines()
    assert said == ["✔ third stopped", "✔ second stopped", "✔ first stopped"]


async def test_a_service_that_does_not_hear_is_killed_after_its_grace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start(command(tmp_path, "deaf", DEAF, grace_seconds=0.2))
        (number,) = await printed_ids(tmp_path / "deaf.log")
    assert not is_running(number)
    assert "deaf did not stop within 0.2 s and was killed" in capfd.readouterr().err


async def test_a_second_request_kills_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    async with Supervisor() as supervisor:
        await supervisor.start(command(tmp_path, "deaf", DEAF, grace_seconds=60))
        (number,) = await printed_ids(tmp_path / "deaf.log")
        asyncio.get_running_loop().call_later(0.2, supervisor.kill)
    assert not is_running(number)
    assert time.monotonic() - began < 30


async def test_what_a_service_started_goes_with_it(tmp_path: Path) -> None:
    """The accident: a worker stops and its replica process keeps the memory and the device."""
    async with Supervisor() as supervisor:
        await supervisor.start(command(tmp_path, "parent", PARENT))
        ids = await printed_ids(tmp_path / "parent.log")
        assert len(ids) == 2
    for number in ids:
        await until_gone(number)


async def test_a_service_that_dies_is_started_again_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Supervisor(QUICK) as supervisor:
        await supervisor.start(command(tmp_path, "worker", OBEDIENT))
        supervisor.platform_is_ready()
        (first,) = await printed_ids(tmp_path / "worker.log")
        os.kill(first, signal.SIGKILL)
        (second,) = await printed_ids(tmp_path / "worker.log", lines=2)
        assert first != second
        assert is_running(second)
    assert not is_running(second)
    said = capfd.readouterr().err
    assert "worker was ended by SIGKILL" in said
    assert "worker is started again in 0.01 s" in said


async def test_a_service_that_never_starts_is_given_up_with_its_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The accident: `ovchat up` waits forever for a gateway that cannot start."""
    program = "import sys; sys.exit('the port is taken')"
    async with Supervisor(QUICK) as supervisor:
        await supervisor.start(command(tmp_path, "gateway", program))
        with pytest.raises(Unavailable, match=r"gateway does not start; its log is .*gateway\.log"):
            await supervisor.until(asyncio.Event().wait())
    assert "gateway ended with status 1: the port is taken" in capfd.readouterr().err


async def test_a_program_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    broken = command(tmp_path, "gateway", OBEDIENT)
    async with Supervisor() as supervisor:
        with pytest.raises(Unavailable, match="gateway cannot be started"):
            await supervisor.start(type(broken)(**{**vars(broken), "arguments": (str(tmp_path / "absent"),)}))


LAUNCHER = """
import asyncio, sys
from pathlib import Path
from deploy.local.supervision import Supervisor
from tests.unit.deploy_local.processes import DEAF, command

async def main():
    async with Supervisor() as supervisor:
        await supervisor.start(command(Path(sys.argv[1]), "child", DEAF))
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_children_die_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    """The accident: `kill -9` of the launcher leaves a Redis behind that holds the data folder."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=Path(__file__).parents[3])
    try:
        (child,) = asyncio.run(printed_ids(tmp_path / "child.log"))
        assert is_running(child)
    finally:
        launcher.kill()
        launcher.wait()
    asyncio.run(until_gone(child))


async def test_a_log_is_moved_aside_while_its_service_runs(tmp_path: Path) -> None:
    """The accident: an instance that is never stopped fills its disk with one log."""
    rule = SupervisionRule(log_look_seconds=0.02, longest_log_bytes=1000)
    talker = "import time\nwhile True: print('x' * 99, flush=True), time.sleep(0.002)"
    async with Supervisor(rule) as supervisor:
        service = await supervisor.start(command(tmp_path, "talker", talker))
        process_id = service.process_id
        moved = await printed_lines(tmp_path / "talker.log.2", 2)
        assert service.process_id == process_id
    assert sum(map(len, moved)) > 1000
    assert {line.strip("x") for line in moved} == {"\n"}, "no hole where it was emptied"
    assert not (tmp_path / "talker.log.6").exists()
