"""`ovchat chat` while its gateway goes away: it says so, and Ctrl-C is obeyed at once."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import OVCHAT, Terminal, environment_of
from tests.helpers.pool import Pool
from tests.helpers.services import wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = [pytest.mark.connected, pytest.mark.e2e]
LOST = r"\n\(connection lost, reconnecting; Ctrl-C gives up\)"
#: Text in the place of the status line, which begins with an escape sequence of its own.
ANSWER = r"\r\x1b\[K[^\x1b(]{10}"
LONG = ("--max-new-tokens", "100000")
#: Far below the minute that a lost gateway is looked for.
AT_ONCE_SECONDS = 5.0


@pytest.fixture
def pool(redis_url: str, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, redis_url)
    publish_sample_variant(pool.store_path, redis_url)
    try:
        pool.gateway()
        pool.worker()
        yield pool
    finally:
        pool.stop()


@pytest.fixture
def environment(pool: Pool) -> dict[str, str]:
    return environment_of(pool.gateways[0])


def test_a_conversation_outlives_an_answer_that_was_given_up(pool: Pool, environment: dict[str, str]) -> None:
    """The accident: the gateway dies in an answer, and the terminal is frozen for a minute."""
    terminal = Terminal(environment, "chat", "sample", *LONG)
    terminal.until("> ")
    terminal.type("tell me everything\n")
    terminal.until(ANSWER)
    pool.gateways[0].kill()
    terminal.until(LOST)
    terminal.type("\x03")
    terminal.until(r"\(given up\)(?s:.*)> ", seconds=AT_ONCE_SECONDS)
    terminal.type("are you there\n")
    terminal.until(r"connection lost, reconnecting")
    pool.gateways[0].start_ready()
    terminal.until(ANSWER)
    terminal.type("\x03")
    terminal.until(r"\(cancelled(?s:.*)> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_gateway_that_hangs_is_given_up_with_the_second_ctrl_c(pool: Pool, environment: dict[str, str]) -> None:
    """The accident: the gateway stands still with its socket open, and nobody tells the end of the answer.

    The next question comes to a gateway that has just learned that the one before is cancelled, and is answered.
    """
    terminal = Terminal(environment, "chat", "sample", *LONG)
    terminal.until("> ")
    terminal.type("tell me everything\n")
    terminal.until(ANSWER)
    pool.gateways[0].signal(signal.SIGSTOP)
    try:
        # Two that come before the program looks are one signal, so they are pressed as a person would.
        for _ in range(10):
            terminal.type("\x03")
            with contextlib.suppress(AssertionError):
                terminal.until(r"\(given up\)(?s:.*)> ", seconds=0.5)
                break
        else:
            pytest.fail(f"not given up: {terminal.seen!r}")
        terminal.type("and now\n")
        terminal.until("sending")
    finally:
        pool.gateways[0].signal(signal.SIGCONT)
    terminal.until(ANSWER)
    terminal.type("\x03")
    terminal.until(r"\(cancelled(?s:.*)> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_single_message_to_a_file_says_the_loss_on_standard_error(
    pool: Pool, environment: dict[str, str], tmp_path: Path
) -> None:
    answer, notices = tmp_path / "answer", tmp_path / "notices"
    with answer.open("wb") as out, notices.open("wb") as err:
        asking = subprocess.Popen(
            [*OVCHAT, "chat", "sample", "-m", "tell me everything", *LONG],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: answer.stat().st_size > 10, what="an answer")
        pool.gateways[0].kill()
        wait_until(lambda: "connection lost" in notices.read_text(), what="the notice")
        began = time.monotonic()
        asking.send_signal(signal.SIGINT)
        assert asking.wait(30) == 130
        assert time.monotonic() - began < AT_ONCE_SECONDS
    finally:
        asking.kill()
        asking.wait()
    assert notices.read_text() == "(connection lost, reconnecting; Ctrl-C gives up)\n(given up)\n"
    assert answer.read_text().endswith("\n")
    assert "connection" not in answer.read_text()


def test_ctrl_c_while_connecting_ends_the_command(environment: dict[str, str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asking = subprocess.Popen(
            [*OVCHAT, "chat", "sample", "-m", "hi"],
            env={**environment, "OVCHAT_URL": url}, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            accepted, _ = silent.accept()
            with accepted:
                asking.send_signal(signal.SIGINT)
                _, said = asking.communicate(timeout=AT_ONCE_SECONDS)
        finally:
            asking.kill()
            asking.wait()
    assert (asking.returncode, said.strip()) == (130, "")
