from collections.abc import Callable
from pathlib import Path

import pytest

from converter_worker.child_log import FIRST_LINES, LAST_LINES, LINE_CHARACTERS, LINES_OF_EVENT, ChildLog


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.log"


@pytest.fixture
def told() -> list[tuple[str, ...]]:
    return []


def every_second() -> Callable[[], float]:
    times = iter(range(10_000))
    return lambda: float(next(times))


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def test_lines_are_told_as_they_come_and_only_whole(file: Path, told: list[tuple[str, ...]]) -> None:
    append(file, "of an earlier attempt\n")
    log = ChildLog(file, told.append, clock=every_second())
    append(file, "first\nsec")
    log.look()
    append(file, "ond\n\nlast")
    log.look()
    log.finish()
    assert told == [("first",), ("second",), ("last",)]


def test_no_token_leaves_the_converter(file: Path, told: list[tuple[str, ...]]) -> None:
    log = ChildLog(file, told.append, secrets=["the-operators-token", ""])
    append(file, "token=the-operators-token\nhf_abcdefghijklmnop\nAuthorization: Bearer abc.def\n")
    append(file, "https://someone:password@hub.example/x\novk-abcdefghijklmnopqrstuv\n")
    log.finish()
    text = "\n".join(told[0])
    for secret in ("the-operators-token", "hf_abc", "abc.def", "password", "ovk-abc"):
        assert secret not in text
    assert told[0][:3] == ("token=***", "***", "Authorization: Bearer ***")


def test_a_chatty_child_is_bounded(file: Path, told: list[tuple[str, ...]]) -> None:
    log = ChildLog(file, told.append)
    append(file, "".join(f"line {number}\n" for number in range(1000)) + "x" * 5000 + "\n")
    log.finish()
    lines = [line for part in told for line in part]
    assert len(lines) == FIRST_LINES + 1 + LAST_LINES
    assert lines[FIRST_LINES] == f"… {1001 - FIRST_LINES - LAST_LINES} lines left out …"
    assert lines[-2] == "line 999"
    assert len(lines[-1]) == LINE_CHARACTERS
    assert max(map(len, told)) == LINES_OF_EVENT


def test_terminal_tricks_do_not_reach_the_reader(file: Path, told: list[tuple[str, ...]]) -> None:
    log = ChildLog(file, told.append)
    append(file, "10 %\r50 %\r100 %\n\x1b[31mred\x1b[0m\x07\n")
    log.finish()
    assert told == [("100 %", "red")]
