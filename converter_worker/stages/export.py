"""Export: the checkpoint becomes the base IR that every variant of the job is made from.

The base keeps the checkpoint's own precision, because that is what `optimum-cli export openvino --weight-format int8`
and `int4` compress: their files are byte for byte what is compressed from this base. Asking for an 8-bit configuration
here is what keeps normalization and rotary constants in float32; nothing is compressed yet.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converter_worker.package_versions import package_versions
from converter_worker.redaction import first_line
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.ir_files import MODEL_NAME, check_ir
from converter_worker.stages.whole_weights import whole_weights
from shared.errors import NotCausalLm

TASK = "text-generation-with-past"


class Arguments(StageMessage):
    """`source_dir`: checkpoint folder; `output_dir`: made here, must not exist."""

    source_dir: Path
    output_dir: Path
    trust_remote_code: bool = False


class Result(StageMessage):
    """`base_weights_bytes`: of the base IR; `fp16_weights_bytes`: of the fp16 variant, made or not.

    `versions`: of the packages that did it, by name.
    """

    base_weights_bytes: int
    fp16_weights_bytes: int
    versions: dict[str, str]


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Export the checkpoint.

    Raises:
        NotCausalLm: the exporter does not know the architecture.
        SourceCorrupt: the checkpoint lacks weights that its config.json asks for, or they have other shapes.
    """
    arguments = Arguments.model_validate(raw_arguments)
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig, OVWeightQuantizationConfig

    from converter_worker.stages.half_precision import half_precision_bytes, read_model

    report(0.02, "loading the checkpoint")
    with _progress_hooks(report), whole_weights():
        try:
            main_export(
                str(arguments.source_dir),
                arguments.output_dir,
                task=TASK,
                library_name="transformers",
                trust_remote_code=arguments.trust_remote_code,
                ov_config=OVConfig(quantization_config=OVWeightQuantizationConfig(bits=8)),
                convert_tokenizer=False,
            )
        except ValueError as error:
            if "unsupported architecture" in str(error) or "only supports the tasks" in str(error):
                raise NotCausalLm(f"The exporter does not support this model: {first_line(error)}") from error
            raise
    xml_file = arguments.output_dir / f"{MODEL_NAME}.xml"
    base_bytes = check_ir(xml_file)
    saved_bytes = half_precision_bytes(read_model(xml_file))
    report(1.0, "exported")
    return Result(
        base_weights_bytes=base_bytes, fp16_weights_bytes=base_bytes - saved_bytes, versions=package_versions()
    )


@contextlib.contextmanager
def _progress_hooks(report: ReportProgress) -> Iterator[None]:
    """Report when the exporter has loaded the weights and when it starts to save: it offers no hook of its own."""
    from optimum.exporters.openvino import convert
    from optimum.exporters.tasks import TasksManager

    load, save = TasksManager.get_model_from_task, convert._save_model

    def load_and_report(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        report(0.25, "tracing the model")
        return model

    def report_and_save(*args: Any, **kwargs: Any) -> Any:
        report(0.8, "writing the base model")
        return save(*args, **kwargs)

    TasksManager.get_model_from_task, convert._save_model = load_and_report, report_and_save
    try:
        yield
    finally:
        TasksManager.get_model_from_task, convert._save_model = load, save
