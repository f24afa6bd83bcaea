"""One shape through the whole: checkpoint, conversion, the engine of the manifest's model type, comparison."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from inference_worker.engine_choice import choose_engine
from shared.catalog import load_catalog
from shared.catalog.engines import EngineName
from shared.errors import PlatformError
from shared.schemas.conversion import ConversionJob
from shared.schemas.models import Manifest, WeightFormat
from tests.families import answers_stage, checkpoint_stage
from tests.families.greedy import GreedyAnswer
from tests.families.pipeline import Pipeline
from tests.families.results import EXACT, Outcome
from tests.families.shapes import Shape

VARIANTS: tuple[WeightFormat, ...] = ("fp16", "int8", "int4")
NEW_TOKENS = 24


@dataclass(frozen=True)
class Trial:
    """A shape's published variants, and the answers that they should give."""

    pipeline: Pipeline
    shape: Shape
    stack: str
    job: ConversionJob
    made: checkpoint_stage.Result

    def compare(self, engine: EngineName | None = None) -> Outcome:
        """Let each variant answer in an engine, that of the family where none is named, and compare."""
        if self.job.state != "succeeded":
            return Outcome(stack=self.stack, failure=_first_line(_reason(self.job)))
        verdicts: dict[str, str] = {}
        serving = ""
        for name in (request.name for request in self.job.plan.variants):
            manifest = self.pipeline.store.manifest(self.job.plan.model, name)
            serving = engine or serving_engine(self.shape, manifest)
            verdicts[name] = self._verdict_on(manifest, serving)
        return Outcome(stack=self.stack, engine=serving, verdicts=verdicts)

    def _verdict_on(self, manifest: Manifest, engine: str) -> str:
        reference = self.shape.fp16_reference if manifest.variant == "fp16" else "optimum-intel"
        by_optimum = reference == "optimum-intel"
        answers = self._answers(manifest, engine, by_optimum=by_optimum)
        verdict = _verdict(answers.engine, answers.optimum if by_optimum else self.made.answers, reference)
        seconds = tuple(answer[-len(rest) :] for answer, rest in zip(answers.engine, answers.continued, strict=True))
        if verdict == EXACT and seconds != answers.continued:
            return "differs from itself where the text comes again"
        return verdict

    def _answers(self, manifest: Manifest, engine: str, *, by_optimum: bool) -> answers_stage.Result:
        arguments: dict[str, JsonValue] = {
            "variant_dir": str(self.pipeline.store.variant_dir(manifest.model, manifest.variant)),
            "engine": engine,
            "by_optimum": by_optimum,
            "prompts": [list(prompt) for prompt in self.made.prompts],
            "new_tokens": NEW_TOKENS,
        }
        return answers_stage.Result.model_validate(self.pipeline.run_child("tests.families.answers_stage", arguments))


def serving_engine(shape: Shape, manifest: Manifest) -> str:
    """Return the engine that the platform, or for this shape its operator, chooses on a CPU."""
    return shape.engine or choose_engine("auto", model_type=manifest.model_type, device="CPU", checked=manifest.engine)


def try_shape(
    pipeline: Pipeline, shape: Shape, tokenizer_dir: Path, variants: Sequence[WeightFormat] = VARIANTS
) -> Outcome:
    """Make, convert, serve and compare; what goes wrong on the way is the outcome's failure."""
    try:
        with converted(pipeline, shape, tokenizer_dir, variants) as trial:
            return trial.compare()
    except PlatformError as error:
        return Outcome(stack="", failure=_first_line(error.message))


@contextlib.contextmanager
def converted(
    pipeline: Pipeline, shape: Shape, tokenizer_dir: Path, variants: Sequence[WeightFormat] = VARIANTS
) -> Iterator[Trial]:
    """Make a shape's checkpoint and convert it; both are gone afterwards.

    Raises:
        PlatformError: no stack exports the family, or its checkpoint cannot be made.
    """
    source = pipeline.folder / "checkpoints" / shape.slug
    folders = (source, pipeline.store.path / shape.slug)
    for left_over in folders:
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        stack = pipeline.stack(shape.family)
        made = _make_checkpoint(pipeline, shape, stack, source, tokenizer_dir)
        yield Trial(pipeline, shape, stack, pipeline.convert(source, _requests(shape, variants)), made)
    finally:
        for made_here in folders:
            shutil.rmtree(made_here, ignore_errors=True)


def _make_checkpoint(
    pipeline: Pipeline, shape: Shape, stack: str, source: Path, tokenizer_dir: Path
) -> checkpoint_stage.Result:
    arguments: dict[str, JsonValue] = {
        "family": shape.family,
        "fields": shape.fields,
        "attention": shape.attention,
        "tokenizer_dir": str(tokenizer_dir),
        "output_dir": str(source),
        "prompt_lengths": list(shape.prompt_lengths),
        "new_tokens": NEW_TOKENS,
    }
    raw = pipeline.run_child("tests.families.checkpoint_stage", arguments, stack=stack)
    return checkpoint_stage.Result.model_validate(raw)


def _requests(shape: Shape, variants: Sequence[WeightFormat]) -> tuple[object, ...]:
    """Return the variants with the INT4 recipe of the family's smallest model in the catalogue."""
    entry = next((entry for entry in load_catalog().entries if entry.family == shape.family), None)
    recipe = {} if entry is None else entry.int4.model_dump(mode="json", exclude_none=True)
    int4 = {"name": "int4", "weight_format": "int4", "recipe": recipe}
    return tuple(int4 if variant == "int4" else variant for variant in variants)


def _verdict(served: Sequence[Sequence[int]], wanted: Sequence[GreedyAnswer], of: str) -> str:
    for got, answer in zip(served, wanted, strict=True):
        pairs = enumerate(zip(got, answer.token_ids, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), None)
        if at is not None:
            return f"differs from {of} at token {at + 1}, of a margin of {answer.margins[at]:.0e}"
        if len(got) != len(answer.token_ids):
            return f"{len(got)} tokens, {len(answer.token_ids)} of {of}"
    return EXACT


def _reason(job: ConversionJob) -> str:
    return job.error.message if job.error else job.state


def _first_line(text: str) -> str:
    return (text.splitlines() or ["failed"])[0][:300]
