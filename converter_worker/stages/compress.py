"""Compress: one variant from the base IR, by the recipe, with the very calls that the command line makes."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from converter_worker.linked_files import link_or_copy
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.ir_files import MODEL_NAME, check_ir, save_ir
from shared.errors import RecipeUnfit
from shared.schemas.models import Recipe, WeightFormat

#: Files of the base folder, beside the IR, that belong to every variant.
CONFIG_FILES = ("config.json", "generation_config.json")


class Arguments(StageMessage):
    """`source_model` is the public id: some ids have layers that the command line leaves uncompressed."""

    base_dir: Path
    output_dir: Path
    weight_format: WeightFormat
    recipe: Recipe
    source_model: str


class Result(StageMessage):
    """`weights_bytes`: size of the variant's weights file."""

    weights_bytes: int


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Make the variant's folder.

    Raises:
        RecipeUnfit: the group size does not divide the channels of some layer.
        DiskFull: no space is left.
    """
    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    for name in CONFIG_FILES:
        if (arguments.base_dir / name).is_file():
            shutil.copyfile(arguments.base_dir / name, arguments.output_dir / name)
    base_xml = arguments.base_dir / f"{MODEL_NAME}.xml"
    xml_file = arguments.output_dir / f"{MODEL_NAME}.xml"
    if arguments.weight_format == "fp16":
        _write_half_precision(base_xml, xml_file, report)
    else:
        _write_compressed(base_xml, xml_file, arguments, report)
    report(1.0, "written")
    return Result(weights_bytes=check_ir(xml_file))


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


def _write_compressed(base_xml: Path, xml_file: Path, arguments: Arguments, report: ReportProgress) -> None:
    import nncf
    from optimum.intel.openvino.quantization import _weight_only_quantization

    from converter_worker.stages.half_precision import read_model
    from converter_worker.stages.quantizer_cache import kept_quantizers

    report(0.02, "reading the base model")
    model = read_model(base_xml)
    with _compression_progress(report), kept_quantizers(base_xml.with_suffix(".bin").stat().st_size):
        try:
            compressed = _weight_only_quantization(model, _quantization_config(arguments))
        except nncf.errors.InvalidGroupSizeError as error:
            raise RecipeUnfit(
                f"group_size {arguments.recipe.group_size} does not divide the channels of every layer; "
                "-1 (one scale per channel) always works.",
                param="recipe.group_size",
            ) from error
    report(0.93, "writing")
    save_ir(compressed, xml_file)


def _quantization_config(arguments: Arguments) -> Any:
    """Return what `optimum-cli` makes of `--weight-format`, `--sym`, `--group-size` and `--ratio`."""
    from optimum.intel import OVWeightQuantizationConfig
    from optimum.intel.openvino.configuration import (
        OVPipelineQuantizationConfig,
        _apply_default_ignored_scope_config,
    )

    recipe = arguments.recipe
    if arguments.weight_format == "int8":
        config = OVWeightQuantizationConfig(bits=8, sym=bool(recipe.sym), group_size=-1)
    else:
        config = OVWeightQuantizationConfig(
            bits=4,
            sym=bool(recipe.sym),
            group_size=recipe.group_size,
            ratio=1.0 if recipe.ratio is None else recipe.ratio,
        )
    pipeline = _apply_default_ignored_scope_config(
        arguments.source_model, OVPipelineQuantizationConfig(quantization_configs={}, default_config=config)
    )
    return pipeline.quantization_configs.get("model", pipeline.default_config)


@contextlib.contextmanager
def _compression_progress(report: ReportProgress) -> Iterator[None]:
    """Report from inside nncf's loops: the modules bind their progress bar by name, and it can be replaced there."""
    from nncf.quantization.algorithms.weight_compression import algorithm, mixed_precision

    modules = (mixed_precision, algorithm)
    originals = [module.track for module in modules]
    # Choosing the layers that stay in 8 bits reads every weight once; compressing is the larger part.
    spans = ((0.05, 0.3), (0.3, 0.92))
    for module, (start, end) in zip(modules, spans, strict=True):
        module.track = _reporting_track(report, start, end)
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.track = original


def _reporting_track(report: ReportProgress, start: float, end: float) -> Callable[..., Iterator[Any]]:
    def track(sequence: Any, description: str = "", total: int | None = None, **options: Any) -> Iterator[Any]:
        weights = options.get("weights") or [1.0] * len(sequence)
        whole, done = sum(weights) or 1.0, 0.0
        for item, weight in zip(sequence, weights, strict=True):
            yield item
            done += weight
            report(start + (end - start) * done / whole, description)

    return track
