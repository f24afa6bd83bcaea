"""A handful of the families on their way from checkpoint to tokens; `make families` does it with all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.families.pipeline import Pipeline
from tests.families.shapes import Shape, load_shapes
from tests.families.trial import try_shape
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

pytestmark = [pytest.mark.connected, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

#: What differs most: ALiBi in an engine of its own, capped and windowed attention with a norm around each part, experts
#: with attention sinks, and a rope that changes with the length of the text.
_HANDFUL = ("mpt-usual", "gemma2-window", "gpt-oss-window", "phi3-long-rope-long-text")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("families")) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, 384)
    return folder


@pytest.mark.parametrize("slug", _HANDFUL)
def test_the_engine_of_a_family_answers_as_transformers_and_optimum_do(
    pipeline: Pipeline, tokenizer_dir: Path, slug: str
) -> None:
    shape: Shape = next(shape for shape in load_shapes() if shape.slug == slug)
    outcome = try_shape(pipeline, shape, tokenizer_dir)
    assert outcome.is_exact, outcome


def test_a_wrong_engine_is_seen(pipeline: Pipeline, tokenizer_dir: Path) -> None:
    """Accident: a comparison that nothing fails. Paged attention computes MPT wrongly, and says nothing."""
    shape = next(shape for shape in load_shapes() if shape.family == "mpt")
    paged = shape.model_copy(update={"engine": "continuous_batching"})
    outcome = try_shape(pipeline, paged, tokenizer_dir, variants=("fp16",))
    assert outcome.failure is None
    assert outcome.verdicts["fp16"].startswith("differs from transformers at token")
