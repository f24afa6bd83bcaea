"""One shape through the whole: checkpoint, conversion, the engine of the manifest's model type, comparison."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from inference_worker.engine_choice import choose_engine
from shared.catalog import load_catalog
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


def try_shape(
    pipeline: Pipeline, shape: Shape, tokenizer_dir: Path, variants: Sequence[WeightFormat] = VARIANTS
) -> Outcome:
    """Make, convert, serve and compare; what goes wrong on the way is the outcome's failure."""
    source = pipeline.folder / "checkpoints" / shape.slug
    for left_over in (source, pipeline.store.path / shape.slug):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        stack = pipeline.stack(shape.family)
        made = _make_checkpoint(pipeline, shape, stack, source, tokenizer_dir)
        job = pipeline.convert(source, _requests(shape, variants))
        if job.state != "succeeded":
            return Outcome(stack=stack, failure=_first_line(job.error.message if job.error else job.state))
        return _compare(pipeline, shape, stack, job, made)
    except PlatformError as error:
        return Outcome(stack="", failure=_first_line(error.message))
    finally:
        for made_here in (source, pipeline.store.path / shape.slug):
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


def _compare(
    pipeline: Pipeline, shape: Shape, stack: str, job: ConversionJob, made: checkpoint_stage.Result
) -> Outcome:
    verdicts: dict[str, str] = {}
    engine = ""
    for name in (request.name for request in job.plan.variants):
        manifest = pipeline.store.manifest(job.plan.model, name)
        engine = shape.engine or choose_engine(
            "auto", model_type=manifest.model_type, device="CPU", checked=manifest.engine
        )
        answers = _answers(pipeline, manifest, engine, made.prompts)
        wanted, of = (made.answers, "transformers") if name == "fp16" else (answers.optimum, "optimum-intel")
        verdicts[name] = _verdict(answers.engine, wanted, of)
        seconds = tuple(answer[-len(rest) :] for answer, rest in zip(answers.engine, answers.continued, strict=True))
        if verdicts[name] == EXACT and seconds != answers.continued:
            verdicts[name] = "differs from itself where the text comes again"
    return Outcome(stack=stack, engine=engine, verdicts=verdicts)


def _answers(
    pipeline: Pipeline, manifest: Manifest, engine: str, prompts: Sequence[Sequence[int]]
) -> answers_stage.Result:
    arguments: dict[str, JsonValue] = {
        "variant_dir": str(pipeline.store.variant_dir(manifest.model, manifest.variant)),
        "engine": engine,
        "by_optimum": manifest.variant != "fp16",
        "prompts": [list(prompt) for prompt in prompts],
        "new_tokens": NEW_TOKENS,
    }
    return answers_stage.Result.model_validate(pipeline.run_child("tests.families.answers_stage", arguments))


def _verdict(served: Sequence[Sequence[int]], wanted: Sequence[GreedyAnswer], of: str) -> str:
    for got, answer in zip(served, wanted, strict=True):
        pairs = enumerate(zip(got, answer.token_ids, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), None)
        if at is not None:
            return f"differs from {of} at token {at + 1}, of a margin of {answer.margins[at]:.0e}"
        if len(got) != len(answer.token_ids):
            return f"{len(got)} tokens, {len(answer.token_ids)} of {of}"
    return EXACT


def _first_line(text: str) -> str:
    return (text.splitlines() or ["failed"])[0][:300]
