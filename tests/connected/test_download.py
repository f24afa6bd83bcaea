"""The download stage against a hub on this machine: gone on with after a kill, gated models, revisions, no network."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from converter_worker.checkpoint_facts import TENSORS
from converter_worker.stage_runner import StageRun, StageRunner
from shared.errors import PlatformError, SourceGated, SourceNotFound, StageCrashed
from tests.helpers.hub_bed import PIECE_BYTES
from tests.helpers.model_hub import COMMIT, ModelHub
from tests.helpers.sample_checkpoint import write_sample_checkpoint

pytestmark = [pytest.mark.connected, pytest.mark.timeout(60)]
TOKEN = "token-with-access"
STRANGER = "token-without-access"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    folder = tmp_path_factory.mktemp("hub")
    small, other, large = (folder / name for name in ("small", "other", "large"))
    write_sample_checkpoint(small, 1)
    write_sample_checkpoint(other, 2)
    write_sample_checkpoint(large, 3, weight_bytes=3 << 23)
    # The same weights in another library's form.
    shutil.copyfile(large / "model.safetensors", large / "consolidated.safetensors")
    models = {"some/small": small, "some/large": large, "some/gated": small}
    with ModelHub(
        models,
        gated=frozenset({"some/gated"}),
        token=TOKEN,
        strangers=frozenset({STRANGER}),
        revisions={"some/small": {"v2": other}},
    ) as hub:
        yield hub


@pytest.fixture
def fetch(tmp_path: Path, hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Run the stage in a child of its own, as the converter does; `offline` is an environment without a network."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    runners: list[StageRunner] = []

    def run(
        name: str,
        *,
        revision: str | None = None,
        token: str = "",
        tensors_file: Path | None = None,
        patterns: tuple[str, ...] = (),
        note: Callable[[StageRunner, float | None, str], None] = lambda runner, progress, message: None,
    ) -> Path:
        runner = StageRunner(lazy=True)
        runners.append(runner)
        arguments: dict[str, JsonValue] = {
            "source_model": name,
            "revision": revision,
            "tensors_file": None if tensors_file is None else str(tensors_file),
            "patterns": list(patterns),
        }
        stage_run = StageRun(
            "download",
            arguments,
            tmp_path / "download.log",
            60.0,
            on_progress=lambda progress, message: note(runner, progress, message),
            environment={"HF_TOKEN": token},
        )
        result = runner.run(stage_run)
        return Path(str(result["source_dir"]))

    yield run
    for runner in runners:
        runner.close()


def test_a_killed_download_is_gone_on_with(hub: ModelHub, fetch: Callable[..., Path]) -> None:
    """The accident: a converter dies at 90 % of 15 GB, and the next one begins with the first byte."""
    seen: list[float] = []

    def kill(runner: StageRunner, progress: float | None, message: str) -> None:
        if progress is not None and "GB of" in message:
            seen.append(progress)
            if progress >= PIECE_BYTES / (3 << 23):
                assert runner.child_pid is not None
                os.kill(runner.child_pid, signal.SIGKILL)

    hub.hold(PIECE_BYTES + (1 << 20))
    try:
        with pytest.raises(StageCrashed):
            fetch("some/large", note=kill)
    finally:
        hub.release()
    assert 0.4 < seen[-1] < 0.5
    assert hub.ranges == ["whole"]
    folder = fetch("some/large")
    assert hub.ranges == ["whole", f"bytes={PIECE_BYTES}-"]
    assert (folder / "model.safetensors").stat().st_size > 3 << 23
    assert not (folder / "consolidated.safetensors").exists()
    fetch("some/large")
    assert len(hub.ranges) == 2


def test_a_revision_is_what_is_fetched(fetch: Callable[..., Path]) -> None:
    main, other = fetch("some/small"), fetch("some/small", revision="v2")
    assert main.name == COMMIT
    assert other.name != COMMIT
    assert (main / "config.json").read_text() != (other / "config.json").read_text()
    assert fetch("some/small", revision=other.name) == other
    with pytest.raises(SourceNotFound, match="no revision v3 on the model hub: name a branch"):
        fetch("some/small", revision="v3")


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        ("", "accept its licence there, and give the converter a token of that account in HF_TOKEN"),
        (STRANGER, "with the account of the converter's token, which has no access yet"),
        ("a-wrong-one", r"refuses the converter's token for some/gated \(401\)"),
    ],
)
def test_a_gated_model_says_what_to_accept_and_where(
    hub: ModelHub, fetch: Callable[..., Path], tmp_path: Path, token: str, advice: str
) -> None:
    with pytest.raises(SourceGated, match=advice) as caught:
        fetch("some/gated", token=token)
    assert hub.url in caught.value.message
    log = (tmp_path / "download.log").read_text()
    assert not token or (token not in caught.value.message and token not in log)


def test_the_right_token_opens_a_gated_model(fetch: Callable[..., Path]) -> None:
    assert (fetch("some/gated", token=TOKEN) / "model.safetensors").is_file()


@pytest.mark.parametrize("how", ["offline", "away"])
def test_what_was_fetched_before_needs_no_hub(
    fetch: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """An air-gapped machine has a cache that was carried there; preflight reads the headers of its files."""
    folder = fetch("some/small")
    monkeypatch.setenv(*(("HF_HUB_OFFLINE", "1") if how == "offline" else ("HF_ENDPOINT", "http://127.0.0.1:9")))
    tensors_file = tmp_path / "tensors.json"
    started = time.monotonic()
    assert fetch("some/small", tensors_file=tensors_file) == folder
    assert list(TENSORS.validate_json(tensors_file.read_bytes())) == ["weight"]
    assert fetch("some/small") == folder
    with pytest.raises(PlatformError, match="not on this machine"):
        fetch("some/large")
    assert time.monotonic() - started < 30


def test_one_file_that_was_fetched_before_needs_no_hub(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GGUF file is fetched."""
    folder = fetch("some/small", patterns=("tokenizer.json",))
    assert not (folder / "model.safetensors").exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("some/small", patterns=("tokenizer.json",)) == folder
    with pytest.raises(SourceNotFound, match="not on this machine"):
        fetch("some/small", patterns=("model.safetensors",))


def test_half_a_snapshot_is_none(fetch: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preflight leaves configuration files in the cache: without the hub they must not pass for the model."""
    fetch("some/small", tensors_file=tmp_path / "tensors.json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceNotFound, match="local checkpoint folder"):
        fetch("some/small")
