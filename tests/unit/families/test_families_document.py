"""`shared/docs/families.md` is what `make families` has seen, and all of it."""

import pytest

from inference_worker.engine_choice import choose_engine
from shared.catalog import load_catalog
from shared.catalog.engines import load_engine_facts
from shared.catalog.stacks import load_stacks
from tests.families.document import DOCUMENT, render
from tests.families.results import EXACT, Outcome, read_results
from tests.families.shapes import Shape, load_not_run, load_shapes
from tests.families.trial import VARIANTS


def test_the_document_is_written_from_the_results() -> None:
    assert DOCUMENT.read_text("utf-8") == render(read_results()), "run `make families`"


def test_every_family_of_the_catalogue_and_of_the_stacks_is_tried_or_has_a_reason() -> None:
    listed = {entry.family for entry in load_catalog().entries}
    listed |= {model_type for stack in load_stacks().stacks for model_type in stack.model_types}
    tried = {shape.family for shape in load_shapes()}
    assert listed - tried <= load_not_run().keys()
    assert not tried & load_not_run().keys()


def test_no_two_shapes_have_a_name() -> None:
    slugs = [shape.slug for shape in load_shapes()]
    assert sorted(set(slugs)) == sorted(slugs)
    assert read_results().keys() == set(slugs)


@pytest.mark.parametrize("shape", load_shapes(), ids=lambda shape: shape.slug)
def test_a_family_was_seen_to_be_exact_where_the_platform_serves_it(shape: Shape) -> None:
    outcome = read_results().get(shape.slug, Outcome())
    assert outcome.failure is None
    assert outcome.verdicts == dict.fromkeys(VARIANTS, EXACT)
    assert outcome.stack == load_stacks().choose(shape.family)
    fact = load_engine_facts().of_configuration({"model_type": shape.family, **shape.fields})
    checked = None if fact is None else fact.engine
    expected = choose_engine("auto", model_type=shape.family, device="CPU", checked=checked)
    assert outcome.engine == (shape.engine or expected)


@pytest.mark.parametrize("family", sorted({shape.family for shape in load_shapes()}))
def test_what_the_stacks_say_of_a_family_is_what_was_seen(family: str) -> None:
    """An exact family is not checked again when a variant of it is published."""
    stacks = load_stacks()
    assert stacks.evidence(family, stacks.choose(family)) in ("exact", None)
