"""Compress: one variant from the base IR, by the recipe, with the very calls that the command line makes."""

import shutil
from contextlib import nullcontext as no_context
from pathlib import Path

from converter_worker.linked_files import link_or_copy
from converter_worker.stages.compression_log import heard_notes
from converter_worker.stages.compression_progress import compression_progress
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.ir_files import MODEL_NAME, check_ir, save_ir
from converter_worker.stages.recipe_config import quantization_config
from shared.errors import RecipeUnfit
from shared.schemas.models import Recipe, WeightFormat

#: Files of the base folder, beside the IR, that belong to every variant.
CONFIG_FILES = ("config.json", "generation_config.json")


class Arguments(StageMessage):
    """`source_model` is the public id: some ids have layers that the command line leaves uncompressed.

    `calibration_file`: JSON of :class:`~converter_worker.stages.calibration_inputs.CalibrationTexts`, for a recipe with
    a dataset; `tokenizer_dir`: the folder of the model's `tokenizer.json`.
    """

    base_dir: Path
    output_dir: Path
    weight_format: WeightFormat
    recipe: Recipe
    source_model: str
    calibration_file: Path | None = None
    tokenizer_dir: Path | None = None


class Result(StageMessage):
    """`weights_bytes`: size of the variant's weights file; `notes`: what of the recipe could not be followed."""

    weights_bytes: int
    notes: tuple[str, ...] = ()


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Make the variant's folder.

    Raises:
        RecipeUnfit: the group size does not divide the channels of some layer, or a pattern names no layer.
        DiskFull: no space is left.
    """
    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    for name in CONFIG_FILES:
        if (arguments.base_dir / name).is_file():
            shutil.copyfile(arguments.base_dir / name, arguments.output_dir / name)
    base_xml = arguments.base_dir / f"{MODEL_NAME}.xml"
    xml_file = arguments.output_dir / f"{MODEL_NAME}.xml"
    notes: tuple[str, ...] = ()
    if arguments.weight_format == "fp16":
        _write_half_precision(base_xml, xml_file, report)
    else:
        notes = _write_compressed(base_xml, xml_file, arguments, report)
    report(1.0, "written")
    return Result(weights_bytes=check_ir(xml_file), notes=notes)


def _write_half_precision(base_xml: Path, xml_file: Path, report: ReportProgress) -> None:
    from converter_worker.stages.half_precision import is_half_precision, read_model, round_to_half_precision

    model = read_model(base_xml)
    if is_half_precision(model):
        link_or_copy(base_xml, xml_file)
        link_or_copy(base_xml.with_suffix(".bin"), xml_file.with_suffix(".bin"))
        return
    report(0.1, "rounding weights to fp16")
    round_to_half_precision(model)
    report(0.6, "writing")
    save_ir(model, xml_file)


def _write_compressed(base_xml: Path, xml_file: Path, arguments: Arguments, report: ReportProgress) -> tuple[str, ...]:
    import nncf
    from optimum.intel.openvino.quantization import _weight_only_quantization

    from converter_worker.stages.calibration_inputs import read_inputs
    from converter_worker.stages.half_precision import read_model
    from converter_worker.stages.quantizer_cache import kept_quantizers

    report(0.02, "reading the base model")
    model = read_model(base_xml)
    config = quantization_config(arguments.weight_format, arguments.recipe, arguments.source_model, model)
    dataset = None
    if arguments.calibration_file is not None and arguments.tokenizer_dir is not None:
        report(0.04, "preparing the calibration texts")
        inputs = read_inputs(arguments.calibration_file, arguments.tokenizer_dir, model)
        dataset, config.num_samples = nncf.Dataset(inputs), len(inputs)
    weights_bytes = base_xml.with_suffix(".bin").stat().st_size
    # The kept quantizers are tried for the plain recipes alone; the others run the model itself most of the time.
    plain = dataset is None and not arguments.recipe.awq
    with (
        compression_progress(report),
        kept_quantizers(weights_bytes) if plain else no_context(),
        heard_notes() as notes,
    ):
        try:
            compressed = _weight_only_quantization(model, config, dataset)
        except nncf.errors.InvalidGroupSizeError as error:
            raise RecipeUnfit(
                f"group_size {arguments.recipe.group_size} does not divide the channels of every layer; "
                "-1 (one scale per channel) always works.",
                param="recipe.group_size",
            ) from error
    report(0.93, "writing")
    save_ir(compressed, xml_file)
    return tuple(notes)
