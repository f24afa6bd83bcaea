"""Which version stacks a converter finds, and the parent processes that it keeps for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from converter_worker.stage_runner import StageRun, StageRunner, StageStopped
from converter_worker.stage_runners import StageRunners
from converter_worker.version_stacks import VersionStacks
from shared.errors import FamilyNotExported

DEFAULT = "transformers-4.57.6"
SECOND = "transformers-5.5.4"
THIRD = "transformers-4.55.4"


def install(folder: Path, stack: str, *, version: str | None = None) -> None:
    version = version or stack.removeprefix("transformers-")
    (folder / stack / f"transformers-{version}.dist-info").mkdir(parents=True)


@pytest.fixture
def stacks(tmp_path: Path) -> VersionStacks:
    install(tmp_path / "stacks", SECOND)
    install(tmp_path / "stacks", THIRD)
    return VersionStacks(tmp_path / "stacks")


def test_the_default_is_always_there(tmp_path: Path) -> None:
    stacks = VersionStacks(tmp_path / "nothing")
    assert stacks.installed() == {DEFAULT}
    assert stacks.overlay(DEFAULT) is None


def test_an_overlay_is_found_by_what_is_installed_in_it(stacks: VersionStacks, tmp_path: Path) -> None:
    install(stacks.folder, "transformers-4.53.3", version="4.99.0")
    install(stacks.folder, "transformers-9.9.9")
    assert stacks.installed() == {DEFAULT, SECOND, THIRD}
    assert stacks.overlay(SECOND) == stacks.folder / SECOND


@pytest.mark.parametrize(
    ("model_type", "stack"), [("llama", DEFAULT), ("starcoder2", DEFAULT), ("", DEFAULT), ("granitemoehybrid", SECOND)]
)
def test_the_model_type_chooses_the_stack(stacks: VersionStacks, model_type: str, stack: str) -> None:
    assert stacks.choose(model_type) == stack


def test_a_missing_stack_is_named_with_what_installs_it(stacks: VersionStacks) -> None:
    with pytest.raises(FamilyNotExported, match=r"minicpm needs .* transformers-4\.53\.3.*deploy/bin/stacks") as caught:
        stacks.choose("minicpm")
    assert "nearest model that works is qwen2.5-1.5b-instruct" in caught.value.message
    with pytest.raises(FamilyNotExported, match="deploy/bin/stacks"):
        stacks.overlay("transformers-4.53.3")


@pytest.fixture
def runners(stacks: VersionStacks) -> Iterator[StageRunners]:
    runners = StageRunners(stacks, lambda overlay: StageRunner(lazy=True, overlay=overlay), idle_seconds=0.0)
    yield runners
    runners.close()


@pytest.fixture
def parent_of(runners: StageRunners, tmp_path: Path) -> Callable[..., int]:
    """Run a stage in a stack; return the process id of its parent."""

    def run(stack: str | None) -> int:
        arguments = {"action": "succeed"}
        result = runners.run(
            StageRun("s", arguments, tmp_path / "log", 60, module="tests.helpers.sample_stage", stack=stack)
        )
        path = result["environment"].get("PYTHONPATH", "")  # type: ignore[union-attr]
        assert str(path).startswith(str(tmp_path / "stacks" / stack) if stack not in (None, DEFAULT) else ("", "/"))
        return int(str(result["parent_pid"]))

    return run


def test_each_stack_has_its_parent_and_only_one_beside_the_default_is_kept(
    runners: StageRunners, parent_of: Callable[..., int]
) -> None:
    default, second = parent_of(None), parent_of(SECOND)
    assert parent_of(DEFAULT) == default
    assert parent_of(SECOND) == second
    third = parent_of(THIRD)
    assert len({default, second, third}) == 3
    assert not psutil.pid_exists(second)
    assert parent_of(None) == default


def test_a_parent_without_work_is_ended_and_made_anew(runners: StageRunners, parent_of: Callable[..., int]) -> None:
    runners.preload()
    default, second = parent_of(None), parent_of(SECOND)
    runners.end_idle()
    assert not psutil.pid_exists(second)
    assert parent_of(SECOND) != second
    assert parent_of(None) == default, "a preloaded parent stays"


def test_after_close_nothing_runs(runners: StageRunners, parent_of: Callable[..., int]) -> None:
    second = parent_of(SECOND)
    runners.close()
    assert not psutil.pid_exists(second)
    with pytest.raises(StageStopped):
        parent_of(THIRD)
