"""GGUF: the weights and the tokenizer of one file, written as the checkpoint that the export reads."""

from pathlib import Path

from converter_worker.gguf_checkpoint import write_checkpoint
from converter_worker.stages.contract import ReportProgress, StageMessage


class Arguments(StageMessage):
    """`gguf_file`: the file; `output_dir`: made here, must not exist."""

    gguf_file: Path
    output_dir: Path


class Result(StageMessage):
    """Size of the checkpoint's weights in bytes."""

    weights_bytes: int


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Write the checkpoint.

    Raises:
        SourceCorrupt, FamilyNotExported, TokenizerMissing: the file cannot become one; the message says what works.
    """
    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    report(None, "reading the GGUF file")
    write_checkpoint(arguments.gguf_file, arguments.output_dir)
    report(1.0, "checkpoint written")
    return Result(weights_bytes=sum(file.stat().st_size for file in arguments.output_dir.glob("*.safetensors")))
