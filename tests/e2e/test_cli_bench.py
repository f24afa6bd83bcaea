"""`ovchat bench` as a person runs it, against real processes with the `sample` engine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client.bench.report import BenchReport
from tests.helpers.command_line import OVCHAT, Terminal, environment_of, ovchat
from tests.helpers.demo_store import MODEL
from tests.helpers.pool import Pool, sample_pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway

pytestmark = [pytest.mark.connected, pytest.mark.e2e]


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with sample_pool(tmp_path_factory.mktemp("pool"), session_redis.url) as pool:
        yield pool


@pytest.fixture(scope="module")
def environment(pool: Pool) -> dict[str, str]:
    return environment_of(pool.gateways[0])


def test_steps_are_tables_and_a_document_and_leave_no_chats(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    wanted = ("--concurrency", "1,2", "--requests", "4", "--max-new-tokens", "8", "--json", str(file))
    outcome = ovchat(environment, "bench", "sample", *wanted)
    assert outcome.returncode == 0, outcome.stderr
    for label in ("1 at once", "2 at once"):
        assert re.search(rf"^{label} +4 +4 +0 +0 +0 ", outcome.stdout, re.MULTILINE)
        assert re.search(rf"^{label} +queue to first token +4 ", outcome.stdout, re.MULTILINE)
        assert f"{label}: 4 finished" in outcome.stderr
    report = BenchReport.model_validate_json(file.read_text())
    assert [(step.concurrency, step.finished, step.output_tokens) for step in report.steps] == [(1, 4, 32), (2, 4, 32)]
    assert (report.schema_version, report.api, report.interrupted) == (1, "ws", False)
    assert ovchat(environment, "chats", "--json").stdout.strip() == "[]"


def test_an_open_loop_over_openai_s_interface_asks_the_lines_of_a_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is a bee?\n\nAnd a bridge?\n")
    wanted = ("--api", "openai", "--rate", "20", "--requests", "5", "--prompts", str(prompts), "--max-new-tokens", "4")
    outcome = ovchat(environment, "bench", "sample", *wanted, "--json", "-")
    assert outcome.returncode == 0, outcome.stderr
    report = BenchReport.model_validate_json(outcome.stdout)
    (step,) = report.steps
    assert (step.load, step.rate_per_second, step.finished, step.output_tokens) == ("open", 20, 5, 20)
    assert report.prompts == "prompts of prompts.txt"


def test_ctrl_c_prints_what_was_measured_and_cancels_what_is_open(environment: dict[str, str]) -> None:
    # The second step has a tenth of the first one's clients for as many answers: it is far from its end.
    steps = ("--concurrency", "10,1", "--requests", "40", "--max-new-tokens", "60")
    terminal = Terminal(environment, "bench", "sample", *steps)
    terminal.until(r"\n.*10 at once: 40 finished.*\r\n")
    terminal.until(r"1 at once: \d+ finished, 1 open, \d+ pieces")
    terminal.type("\x03")
    terminal.until(r"10 at once +40 +40 +0 +0 +0 ")
    terminal.until("broken off: these are the figures up to then")
    assert terminal.end() == 130


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nix",), 1, "no model 'nix'"),
        (("sample", "--rate", "1", "--concurrency", "1"), 2, "--rate and --concurrency do not go together"),
        (("sample", "--concurrency", "0"), 2, "'0' is no list of numbers above 0"),
        (("sample", "--rate", "fast"), 2, "'fast' is no list of numbers"),
        (("sample", "--concurrency", "1.5"), 2, "whole numbers"),
        (("sample", "--prompts", "nowhere.txt"), 1, "nowhere.txt cannot be read"),
        (("sample", "--compare", "other"), 2, "wanted are optimum, in-process"),
        (("sample", "--compare", "optimum", "--rate", "1"), 2, "--rate and --compare do not go together"),
        (("sample", "--compare", "in-process", "--store", "nowhere"), 1, "sample:int4 is not published in the model"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(
    environment: dict[str, str], arguments: tuple[str, ...], status: int, message: str
) -> None:
    outcome = ovchat(environment, "bench", *arguments)
    assert (outcome.returncode, outcome.stdout) == (status, "")
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_comparison_runs_the_same_prompts_through_all_three(demo_platform: Gateway, demo_store: Path) -> None:
    environment = environment_of(demo_platform)
    wanted = ("--compare", "optimum,in-process", "--rounds", "2", "--concurrency", "2", "--max-new-tokens", "6")
    # Two processes import and load beside the platform, which takes minutes on a machine that is busy.
    outcome = subprocess.run(
        [*OVCHAT, "bench", f"{MODEL}:int4", *wanted, "--store", str(demo_store), "--json", "-"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    (compared,) = BenchReport.model_validate_json(outcome.stdout).comparisons
    assert [peer.name for peer in compared.peers] == ["optimum", "in-process"]
    for peer in compared.peers:
        assert peer.same_prompts
        assert (len(peer.tokens_per_second), peer.ratio > 0, bool(peer.versions)) == (2, True, True)
    assert compared.peers[0].first_token_ms is not None
    assert compared.peers[0].first_token_ms.count == 4
