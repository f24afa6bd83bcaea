"""The files of a conversion against those of the command line, on a tiny checkpoint in bfloat16.

bfloat16 is the precision that most checkpoints have, and the hard case: a base exported in float16 would give other
files wherever a weight is too small for float16.
"""

import filecmp
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from converter_worker.stage_environment import stage_environment
from converter_worker.stage_runner import StageRun, StageRunner
from tests.helpers.tiny_checkpoints import write_tiny_llama

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

CASES: dict[str, tuple[str, dict[str, JsonValue], list[str]]] = {
    "int8": ("int8", {"sym": False}, ["--weight-format", "int8"]),
    "int4": (
        "int4",
        {"sym": True, "group_size": 128, "ratio": 0.8},
        ["--weight-format", "int4", "--sym", "--group-size", "128", "--ratio", "0.8"],
    ),
    # Asymmetric weights have zero points too, and nothing stays in 8 bits but the embedding and the last layer.
    "int4-asym": (
        "int4",
        {"sym": False, "group_size": 64, "ratio": 1.0},
        ["--weight-format", "int4", "--group-size", "64", "--ratio", "1.0"],
    ),
}


@pytest.fixture(scope="module")
def runner() -> Iterator[StageRunner]:
    runner = StageRunner()
    runner.preload()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny", dtype="bfloat16")


@pytest.fixture(scope="module")
def base(runner: StageRunner, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    arguments: dict[str, JsonValue] = {"source_dir": str(source), "output_dir": str(folder / "base")}
    runner.run(StageRun("export", arguments, folder / "export.log", 120))
    return folder / "base"


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_command_line(
    case: str, runner: StageRunner, source: Path, base: Path, tmp_path: Path
) -> None:
    weight_format, recipe, options = CASES[case]
    arguments: dict[str, JsonValue] = {
        "base_dir": str(base),
        "output_dir": str(tmp_path / "ours"),
        "weight_format": weight_format,
        "recipe": recipe,
        "source_model": "tests/tiny",
    }
    runner.run(StageRun("compress", arguments, tmp_path / "compress.log", 120))
    command = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(source)]
    subprocess.run(
        [*command, "--task", "text-generation-with-past", *options, str(tmp_path / "theirs")],
        check=True,
        env={**stage_environment(), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
    )
    ours, theirs = (tmp_path / side / "openvino_model.bin" for side in ("ours", "theirs"))
    assert filecmp.cmp(ours, theirs, shallow=False)
