"""Ready-made IR: copied out of its source, and read by OpenVINO as what the engines expect."""

import os
from pathlib import Path

from converter_worker.ir_facts import DESCRIPTION, WEIGHTS
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import NotCausalLm, SourceCorrupt

#: What is copied where it is there. Code that came with a model stays where it is.
_BESIDE = ("config.json", "generation_config.json", "openvino_config.json")
_CHUNK_BYTES = 8 << 20
_EXPORT_AGAIN = (
    "Export it with `optimum-cli export openvino --task text-generation-with-past`, or convert its checkpoint."
)


class Arguments(StageMessage):
    """`source_dir`: folder of the IR; `output_dir`: made here, must not exist."""

    source_dir: Path
    output_dir: Path


class Result(StageMessage):
    """Size of the weights' file."""

    weights_bytes: int


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Copy the IR with its configuration and look whether an engine can work with it.

    Raises:
        SourceCorrupt: OpenVINO cannot read it.
        NotCausalLm: it is no language model that keeps its own state.
    """
    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    for name in (DESCRIPTION, *_BESIDE):
        if (arguments.source_dir / name).is_file():
            _copy(arguments.source_dir / name, arguments.output_dir / name)
    weights_bytes = _copy(arguments.source_dir / WEIGHTS, arguments.output_dir / WEIGHTS, report)
    report(0.95, "reading")
    _check(arguments.output_dir / DESCRIPTION)
    report(1.0, "copied")
    return Result(weights_bytes=weights_bytes)


def _copy(source: Path, target: Path, report: ReportProgress | None = None) -> int:
    """Copy the content alone: a copy that shared its blocks by a hard link would change with the source."""
    whole, done = source.stat().st_size, 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while count := os.sendfile(writer.fileno(), reader.fileno(), None, _CHUNK_BYTES):
            done += count
            if report is not None:
                report(0.9 * done / max(1, whole), "copying")
    return done


def _check(description: Path) -> None:
    import openvino

    try:
        model = openvino.Core().read_model(description)
    except RuntimeError as error:
        said = (str(error).strip().splitlines() or ["no reason given"])[-1][:300]
        raise SourceCorrupt(f"OpenVINO cannot read {DESCRIPTION}: {said}", param="source_model") from error
    inputs = {name for port in model.inputs for name in port.get_names()}
    if "input_ids" not in inputs:
        raise NotCausalLm(
            f"The IR is no language model: its inputs are {', '.join(sorted(inputs)) or 'nameless'}. {_EXPORT_AGAIN}",
            param="source_model",
        )
    if not model.get_variables() or "beam_idx" not in inputs:
        raise NotCausalLm(
            f"The IR keeps no state of its own, which the engines need. {_EXPORT_AGAIN}", param="source_model"
        )
