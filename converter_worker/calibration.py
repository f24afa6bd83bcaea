"""The calibration texts of a job's recipes, in files of its work folder before the heavy work begins."""

from collections.abc import Sequence
from pathlib import Path

from converter_worker.stage_environment import hub_token
from converter_worker.stages.calibration_inputs import CalibrationTexts
from converter_worker.step_context import StepContext
from shared.errors import CalibrationUnavailable
from shared.schemas.models import CALIBRATION_PREFIX, Recipe, VariantRequest

DEFAULT_SAMPLES = 128


def calibration_file(context: StepContext, recipe: Recipe) -> Path | None:
    """Return where a recipe's texts stand; None where it needs none."""
    if not isinstance(recipe.dataset, str):
        return None
    name = recipe.dataset.removeprefix(CALIBRATION_PREFIX)
    return context.work.path / f"calibration-{name}-{recipe.samples or DEFAULT_SAMPLES}.json"


def fetch_texts(context: StepContext, variants: Sequence[VariantRequest]) -> None:
    """Get the texts of every recipe that needs some; those that are there already are kept.

    Raises:
        CalibrationUnavailable: a job that cannot have them ends before anything large is downloaded.
    """
    for variant in variants:
        file = calibration_file(context, variant.recipe)
        if file is None or file.is_file():
            continue
        name, samples = str(variant.recipe.dataset), variant.recipe.samples or DEFAULT_SAMPLES
        if name.startswith(CALIBRATION_PREFIX):
            _write_own(context, name, samples, file)
            continue
        token = hub_token()
        context.run(
            "preflight",
            {"name": name, "samples": samples, "output_file": str(file)},
            context.reporter("preflight", variant=variant.name),
            module="converter_worker.stages.calibration",
            # The hub's library of the base environment fetches for every stack.
            stack=context.stacks.default,
            environment={"HF_TOKEN": token} if token else None,
        )


def _write_own(context: StepContext, name: str, samples: int, file: Path) -> None:
    texts = context.jobs.calibration_texts(name)
    if texts is None:
        raise CalibrationUnavailable(
            f"The calibration texts {name[:16]}… are not kept any more; convert again with the texts themselves.",
            param="recipe.dataset",
        )
    part = file.with_suffix(".part")
    part.write_text(CalibrationTexts(texts=tuple(texts), samples=samples).model_dump_json(), "utf-8")
    part.replace(file)
