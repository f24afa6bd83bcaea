"""Under which names ready-made IR is published, and which sources are one model."""

import pytest

from gateway.conversions.planning import is_same_model, plan_conversion, plan_import
from shared.catalog import Catalog
from shared.errors import InvalidRequest
from shared.schemas.conversion import ConversionRequest, ImportRequest


@pytest.mark.parametrize(
    ("source", "model", "variant"),
    [
        ("OpenVINO/Qwen2.5-1.5B-Instruct-int4-ov", "qwen2.5-1.5b-instruct", "int4"),
        ("OpenVINO/Qwen3-8B-int4-cw-ov", "qwen3-8b", "int4-cw"),
        ("OpenVINO/phi-2-fp16-ov", "phi-2", "fp16"),
        ("somebody/own-ov", "own-ov", None),
        ("/models/My-IR/", "my-ir", None),
    ],
)
def test_the_source_names_model_and_variant(source: str, model: str, variant: str | None) -> None:
    plan = plan_import(ImportRequest(source_model=source))
    assert (plan.kind, plan.model, plan.variant, plan.variants) == ("import", model, variant, ())


def test_names_of_the_request_are_stronger() -> None:
    plan = plan_import(ImportRequest(source_model="OpenVINO/phi-2-int8-ov", name="phi", variant="mine"))
    assert (plan.model, plan.variant) == ("phi", "mine")


def test_a_source_without_a_name_wants_one() -> None:
    with pytest.raises(InvalidRequest):
        plan_import(ImportRequest(source_model="/"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("OpenVINO/Qwen3-8B-int4-ov", "OpenVINO/Qwen3-8B-int8-ov", True),
        ("Qwen/Qwen3-8B", "OpenVINO/Qwen3-8B-int8-ov", True),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", True),
        ("Qwen/Qwen3-8B", "somebody/Qwen3-8B", False),
        ("OpenVINO/Qwen3-8B-int4-ov", "OpenVINO/Qwen3-4B-int4-ov", False),
    ],
)
def test_variants_of_one_model_may_come_from_several_repositories(one: str, other: str, same: bool) -> None:
    assert is_same_model(one, other) is same


def test_a_gguf_file_gives_its_name_without_the_ending() -> None:
    request = ConversionRequest(source_model="org/Repo-GGUF/Tiny-Q4_K_M.gguf", variants=("int8",))
    assert plan_conversion(request, Catalog([])).model == "tiny-q4_k_m"
