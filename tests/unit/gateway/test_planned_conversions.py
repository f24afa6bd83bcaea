"""For every name of the catalogue: what the job that an admin asks for by it will fetch, and how it compresses it.

`tests/connected/test_catalog_reach.py` sends the same jobs to a hub.
"""

from __future__ import annotations

import pytest

from gateway.conversions.planning import plan_conversion
from shared.catalog import load_catalog
from shared.schemas.conversion import ConversionPlan, ConversionRequest
from shared.schemas.models import Recipe
from tests.helpers.catalog_jobs import CATALOG_JOBS, QWEN_REVISION

NAMED = [
    (name, repository, int4, trusts, stack)
    for names, repository, int4, trusts, stack in CATALOG_JOBS
    for name in (*names.split(), repository, repository.lower())
]


def planned(name: str, **fields: object) -> ConversionPlan:
    request = {"source_model": name, "variants": ["int4", "int8", "fp16"], **fields}
    return plan_conversion(ConversionRequest.model_validate(request), load_catalog())


@pytest.mark.parametrize(("name", "repository", "int4", "trusts", "stack"), NAMED)
def test_a_name_of_the_catalogue_plans_its_job(
    name: str, repository: str, int4: tuple[bool, int, float], trusts: bool, stack: str
) -> None:
    plan = planned(name)
    assert plan.source_model == repository
    assert plan.revision == (QWEN_REVISION if repository == "Qwen/Qwen-7B-Chat" else None)
    sym, group_size, ratio = int4
    recipes = [variant.recipe for variant in plan.variants]
    assert recipes == [Recipe(sym=sym, group_size=group_size, ratio=ratio), Recipe(sym=False), Recipe()]
    assert plan.trust_remote_code is trusts
    assert plan.stack == stack


def test_every_model_and_alias_of_the_catalogue_is_in_the_table() -> None:
    named = {name for name, *_ in NAMED}
    for entry in load_catalog().entries:
        assert {entry.id, *entry.aliases} <= named
    assert len(CATALOG_JOBS) == len(load_catalog().entries)


def test_every_name_of_a_model_plans_the_same_job() -> None:
    """Else a second admin who uses another name would convert the model again instead of joining the job."""
    for names, repository, *_ in CATALOG_JOBS:
        plans = [planned(name) for name in (*names.split(), repository)]
        assert plans == [plans[0]] * len(plans)
        assert plans[0].model == names.split()[0]


def test_a_request_overrides_the_revision_and_adds_trust() -> None:
    plan = planned("qwen-7b-chat", revision="main")
    assert (plan.revision, plan.trust_remote_code) == ("main", True)
    assert planned("zephyr-7b-beta", trust_remote_code=True).trust_remote_code


def test_a_model_that_nobody_knows_leaves_the_stack_to_the_converter() -> None:
    plan = planned("someone/Something-1B")
    assert (plan.source_model, plan.model, plan.stack) == ("someone/Something-1B", "something-1b", None)
