"""Calibration: the texts of a named calibration set, fetched from the hub into a file."""

from pathlib import Path

from converter_worker.stages.calibration_inputs import CalibrationTexts
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import CalibrationUnavailable, PlatformError
from shared.schemas.models import CalibrationName

#: Repository, configuration and split of each set.
_SETS: dict[CalibrationName, tuple[str, str, str]] = {
    "wikitext2": ("Salesforce/wikitext", "wikitext-2-raw-v1", "train"),
}
#: As many lines as the command line takes.
_LINES = 1000


class Arguments(StageMessage):
    """`output_file`: written at once or not at all."""

    name: CalibrationName
    samples: int
    output_file: Path


class Result(StageMessage):
    """`lines`: how many there were."""

    lines: int


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Fetch the texts.

    Raises:
        CalibrationUnavailable: the hub cannot be reached, or does not have them.
    """
    arguments = Arguments.model_validate(raw_arguments)
    report(0.1, f"fetching the calibration texts {arguments.name}")
    lines = _lines(arguments.name)
    text = "".join(line or " \n" for line in lines)
    content = CalibrationTexts(texts=(text,), samples=arguments.samples, is_corpus=True)
    part = arguments.output_file.with_suffix(".part")
    part.write_text(content.model_dump_json(), "utf-8")
    part.replace(arguments.output_file)
    return Result(lines=len(lines))


def _lines(name: CalibrationName) -> list[str]:
    from datasets import load_dataset

    repository, configuration, split = _SETS[name]
    try:
        rows = load_dataset(repository, configuration, split=split)
        return [str(line) for line in rows["text"][:_LINES]]
    except PlatformError:
        raise
    except Exception as error:
        # Whatever the library makes of a hub that is not there: it has a dozen kinds of it.
        raise CalibrationUnavailable(
            f"The calibration texts {name!r} come from the hub ({repository}), and it cannot be reached. Give your own "
            "texts instead: a list of strings as the recipe's `dataset`, or `--calibration FILE` on the command line.",
            param="recipe.dataset",
        ) from error
