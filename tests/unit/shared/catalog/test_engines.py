"""The engine facts, compared with what was measured of each family."""

from __future__ import annotations

import pytest

from shared.catalog import load_catalog
from shared.catalog.engines import USUAL_ENGINE, load_engine_facts
from shared.catalog.stacks import load_stacks


@pytest.mark.parametrize("model_type", ["mpt", "granitemoehybrid"])
def test_a_family_that_paged_attention_computes_wrongly_goes_elsewhere(model_type: str) -> None:
    assert load_engine_facts().engine(model_type) == "stateful"


@pytest.mark.parametrize("model_type", ["llama", "", "nobody_has_heard_of"])
def test_any_other_family_is_batched(model_type: str) -> None:
    assert load_engine_facts().engine(model_type) == USUAL_ENGINE == "continuous_batching"


def test_a_configuration_that_paged_attention_computes_wrongly_goes_elsewhere() -> None:
    """Falcon RW and Falcon 7B are of one type; only one of them has ALiBi."""
    facts = load_engine_facts()
    found = facts.of_configuration({"model_type": "falcon", "alibi": True})
    assert found is not None
    assert found.engine == "stateful"
    for other in ({"model_type": "falcon", "alibi": False}, {"model_type": "falcon"}, {"alibi": True}, {}):
        assert facts.of_configuration(other) is None


def test_facts_are_about_families_that_some_stack_exports_and_say_more_than_the_usual() -> None:
    listed = {model_type for stack in load_stacks().stacks for model_type in stack.model_types}
    listed |= {entry.family for entry in load_catalog().entries}
    facts = load_engine_facts().model_types
    assert facts.keys() <= listed
    assert [name for name, fact in facts.items() if fact.engine == USUAL_ENGINE] == []
