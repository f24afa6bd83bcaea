"""The short form of `make chaos`: every kind of loss at random moments under load, held against the engines' logs."""

import contextlib
import json
import sys
from pathlib import Path

import psutil
import pytest

from tests.chaos.checker import check
from tests.chaos.decoding import ByteLevelDecoder
from tests.chaos.plan import SAMPLE_WEIGHTS
from tests.chaos.recorder import Row, read_rows
from tests.chaos.run import run_course, sample_course
from tests.chaos.verdict import all_violations
from tests.helpers.services import wait_until

pytestmark = pytest.mark.connected
SEED = 7
KILLS = 10


@pytest.mark.timeout(300)
async def test_nothing_is_lost_repeated_or_changed_whatever_is_killed(tmp_path: Path) -> None:
    """The accident: two losses at once, or one at an unlucky moment, cost somebody a part of an answer."""
    folder = tmp_path / "chaos"
    course = sample_course(KILLS, SEED, mean_pause_seconds=2.0)
    report = await run_course(course, folder, SEED, say=_say)
    assert report.violations == [], report.table()
    assert {kill["kind"] for kill in report.kills} == set(SAMPLE_WEIGHTS)
    assert len(report.kills) == KILLS
    assert any(verdict.resumed for verdict in report.verdicts), report.table()
    wait_until(lambda: not _left_behind(folder), seconds=5, what=f"nothing of {folder} runs any more")
    _assert_the_checker_sees_what_is_broken(folder)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _left_behind(folder: Path) -> list[int]:
    """Return the processes that belong to the run's platform."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("OVCHAT_DATA_DIR") == str(folder):
                found.append(process.pid)
    return found


def _assert_the_checker_sees_what_is_broken(folder: Path) -> None:
    """A checker that overlooks a lost, repeated or changed delta, a second end or a missing one proves nothing."""
    rows = read_rows(folder / "rows.jsonl")
    deltas = [
        at for at, row in enumerate(rows) if row["what"] == "frame" and row["frame"]["type"] == "generation.delta"
    ]
    ends = [
        at for at, row in enumerate(rows) if row["what"] == "frame" and row["frame"]["type"].startswith("generation.f")
    ]
    at, end = deltas[len(deltas) // 2], ends[len(ends) // 2]
    changed = {**rows[at], "frame": {**rows[at]["frame"], "text": rows[at]["frame"]["text"] + "!"}}
    for broken in (
        [*rows[:at], *rows[at + 1 :]],
        [*rows[:at], rows[at], *rows[at:]],
        [*rows[:at], changed, *rows[at + 1 :]],
        [*rows[:end], rows[end], *rows[end:]],
        [*rows[:end], *rows[end + 1 :]],
    ):
        assert _violations(folder, broken)


def _violations(folder: Path, rows: list[Row]) -> list[str]:
    path = folder / "broken.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    decoder = ByteLevelDecoder(next((folder / "models").rglob("tokenizer.json")))
    return all_violations(check(path, folder / "tokens", decoder))
