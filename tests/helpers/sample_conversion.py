"""The stages of a conversion without a model: they write files, half of each first, and can be held in the middle.

A stage that finds the file `HOLD_DIR/{stage}` says so in `{stage}.held` and waits until the file is gone.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ConfigDict

from converter_worker.linked_files import link_or_copy
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import VerificationFailed
from shared.schemas.models import Verification
from tests.helpers.sample_checkpoint import WEIGHTS_BYTES, sample_weights

#: Names of the environment: where holds stand, and the longest time that a stage takes.
HOLD_DIR = "SAMPLE_HOLD_DIR"
MOST_SECONDS = "SAMPLE_STAGE_SECONDS"


class Result(StageMessage):
    """Whatever the stage's own result would say."""

    model_config = ConfigDict(extra="allow")


def hold(point: str, watch: Callable[[], None] = lambda: None) -> None:
    """Wait here for as long as a test wants it."""
    folder = os.environ.get(HOLD_DIR)
    if folder is None or not (gate := Path(folder, point)).exists():
        return
    note = Path(folder, f".{point}.{os.getpid()}")
    note.write_text(str(os.getpid()))
    note.replace(Path(folder, f"{point}.held"))
    while gate.exists():
        watch()
        time.sleep(0.01)


def run(arguments: dict[str, object], report: ReportProgress) -> Result:
    """Run the stage that `sample_stage` names."""
    stage = str(arguments["sample_stage"])
    report(0.1, "begun")
    match stage:
        case "tokenizer":
            _write(Path(str(arguments["output_dir"])), stage, {"tokenizer.json": b"{}"})
            result = Result.model_validate({"eos_token_id": 2, "has_chat_template": False, "stop_token_ids": []})
        case "export":
            source = Path(str(arguments["source_dir"]))
            _write(
                Path(str(arguments["output_dir"])),
                stage,
                {
                    "config.json": (source / "config.json").read_bytes(),
                    "source": str(source).encode(),
                    "openvino_model.bin": sample_weights(source, "base"),
                },
            )
            sizes = {"base_weights_bytes": WEIGHTS_BYTES, "fp16_weights_bytes": WEIGHTS_BYTES}
            result = Result.model_validate(sizes)
        case "compress":
            result = _compress(arguments)
        case "verify":
            result = _verify(Path(str(arguments["variant_dir"])))
        case _:
            raise AssertionError(f"no sample of the stage {stage}")
    report(1.0, "done")
    return result


def _compress(arguments: dict[str, object]) -> Result:
    base, target, weight_format = (Path(str(arguments[name])) for name in ("base_dir", "output_dir", "weight_format"))
    source = Path((base / "source").read_text())
    if (base / "openvino_model.bin").read_bytes() != sample_weights(source, "base"):
        raise AssertionError("the base is not whole")
    contents = {"weight_format": str(weight_format).encode()}
    _write(target, "compress", {**contents, "openvino_model.bin": sample_weights(source, str(weight_format))})
    for name in ("config.json", "source"):
        link_or_copy(base / name, target / name)
    return Result.model_validate({"weights_bytes": WEIGHTS_BYTES})


def _verify(variant: Path) -> Result:
    hold("verify")
    _take_time()
    wanted = sample_weights(Path((variant / "source").read_text()), (variant / "weight_format").read_text())
    if (variant / "openvino_model.bin").read_bytes() != wanted or not (variant / "tokenizer.json").is_file():
        raise VerificationFailed("The sample variant is not whole.")
    seen = Verification(passed=True, output_token_ids=(1,), smoke_prompt="2+2=", smoke_answer="4", load_seconds=0.0)
    return Result.model_validate({"verification": seen.model_dump(mode="json")})


def _write(folder: Path, stage: str, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content[: len(content) // 2])
    hold(stage)
    _take_time()
    for name, content in files.items():
        with (folder / name).open("ab") as file:
            file.write(content[len(content) // 2 :])


def _take_time() -> None:
    time.sleep(random.uniform(0, float(os.environ.get(MOST_SECONDS, "0"))))
