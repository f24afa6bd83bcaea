"""`ovchat tune` as a person runs it, against real processes: the `sample` engine, and the demo model in short."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import OVCHAT, Terminal, environment_of, ovchat
from tests.helpers.demo_store import MODEL
from tests.helpers.pool import Pool, sample_pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway

pytestmark = [pytest.mark.connected, pytest.mark.e2e]

SHORT = ("--only", "ENABLE_HYPER_THREADING", "--rounds", "1")


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with sample_pool(tmp_path_factory.mktemp("pool"), session_redis.url, workers=0) as pool:
        yield pool


@pytest.fixture
def environment(pool: Pool) -> dict[str, str]:
    speed = {"OVCHAT_ENGINE": "sample", "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "200"}
    return environment_of(pool.gateways[0], OVCHAT_MODEL_STORE=str(pool.store_path), **speed)


def tunings(gateway: Gateway, path: str = "/api/v1/models/sample/int4/engine") -> list[dict[str, object]]:
    with gateway.client() as client:
        return list(client.get(path).json()["tunings"])


def test_candidates_are_measured_and_the_best_is_kept(environment: dict[str, str], pool: Pool) -> None:
    outcome = ovchat(environment, "tune", "sample", *SHORT)
    assert outcome.returncode == 0, outcome.stderr
    table = outcome.stdout.splitlines()
    assert table[1].startswith("the default ")
    assert table[2].startswith("ENABLE_HYPER_THREADING=NO ")
    assert "] 1/1 ENABLE_HYPER_THREADING=NO: one chat ×" in outcome.stderr
    assert [tuning["mode"] for tuning in tunings(pool.gateways[0])] == ["latency", "throughput"]
    assert str(tunings(pool.gateways[0])[0]["host_kind"]).startswith("sample, ")
    shown = ovchat(environment, "models", "engine", "sample:int4").stdout
    assert "CPU: sample, " in shown


def test_ctrl_c_prints_what_was_measured_and_keeps_nothing(environment: dict[str, str], pool: Pool) -> None:
    before = tunings(pool.gateways[0])
    wanted = ("--only", "KV_CACHE_PRECISION", "--rounds", "2", "--mode", "latency")
    terminal = Terminal(environment, "tune", "sample:int4", *wanted)
    terminal.until(r"1/\d KV_CACHE_PRECISION=u8: one chat")
    terminal.type("\x03")
    terminal.until("KV_CACHE_PRECISION=u8 ")
    terminal.until("broken off: nothing is kept")
    assert terminal.end() == 130
    assert tunings(pool.gateways[0]) == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nix",), 1, "no published model 'nix'"),
        (("sample:int8",), 1, "sample:int8 is not published"),
        (("sample", "--only", "CACHE_DIR"), 2, "CACHE_DIR cannot be tuned"),
        (("sample", "--store", "nowhere", *SHORT), 0, "nothing is better"),
    ],
)
def test_what_cannot_be_tuned_is_one_clear_line(
    environment: dict[str, str], arguments: tuple[str, ...], status: int, message: str
) -> None:
    outcome = ovchat(environment, "tune", *arguments)
    assert outcome.returncode == status, outcome.stderr
    assert message in (outcome.stderr if status else outcome.stdout)
    assert "Traceback" not in outcome.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_model_is_tuned(demo_platform: Gateway, demo_store: Path) -> None:
    environment = environment_of(demo_platform, OVCHAT_MODEL_STORE=str(demo_store))
    wanted = ("--only", "INFERENCE_PRECISION_HINT", "--mode", "latency", "--rounds", "1")
    outcome = subprocess.run(
        [*OVCHAT, "tune", f"{MODEL}:int4", *wanted],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "INFERENCE_PRECISION_HINT=f32" in outcome.stdout
    [tuning] = tunings(demo_platform, f"/api/v1/models/{MODEL}/int4/engine")
    assert str(tuning["host_kind"]).endswith(" threads")
