"""A handful of the families on their way from checkpoint to tokens; `make families` does it with all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.schemas.models import WeightFormat
from tests.families.pipeline import Pipeline
from tests.families.shapes import Shape, load_shapes
from tests.families.trial import converted
from tests.helpers.foretold import assert_foretold
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

pytestmark = [pytest.mark.connected, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

#: What differs most: capped and windowed attention with a norm around each part, experts with attention sinks, and a
#: rope that changes with the length of the text. In 8 or 4 bits, which change nothing but the weights, where the family
#: has weights of an unusual kind.
_HANDFUL: dict[str, tuple[WeightFormat, ...]] = {
    "gemma2-window": ("fp16", "int8"),
    "gpt-oss-window": ("fp16", "int4"),
    "phi3-long-rope-long-text": ("fp16",),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("families")) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, 384)
    return folder


def _shape(slug: str) -> Shape:
    return next(shape for shape in load_shapes() if shape.slug == slug)


@pytest.mark.parametrize("slug", _HANDFUL)
def test_the_engine_of_a_family_answers_as_transformers_and_optimum_do(
    pipeline: Pipeline, tokenizer_dir: Path, slug: str
) -> None:
    """What it takes was foretold too, although the cost model was measured with llamas."""
    with converted(pipeline, _shape(slug), tokenizer_dir, _HANDFUL[slug]) as trial:
        outcome = trial.compare()
    assert outcome.is_exact, outcome
    assert_foretold(trial.job)


def test_a_wrong_engine_is_seen(pipeline: Pipeline, tokenizer_dir: Path) -> None:
    """Accident: a comparison that nothing fails. Paged attention computes MPT wrongly, and says nothing."""
    with converted(pipeline, _shape("mpt-usual"), tokenizer_dir, ("fp16",)) as trial:
        right, wrong = trial.compare(), trial.compare("continuous_batching")
    assert (right.engine, right.is_exact) == ("stateful", True), right
    assert wrong.failure is None
    assert wrong.verdicts["fp16"].startswith("differs from transformers at token")
    assert_foretold(trial.job)
