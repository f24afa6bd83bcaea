"""The version stacks, compared with what was measured of each family."""

from __future__ import annotations

import re

import pytest

from shared.catalog import load_catalog
from shared.catalog.stacks import load_stacks
from shared.errors import FamilyNotExported
from tests.architecture.sources import ROOT

DEFAULT = "transformers-4.57.6"
#: As measured with optimum-intel 2.2.0: the stack that takes a family where all are installed.
MEASURED = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "phi3", "gpt_neox", "mpt", "qwen3"), DEFAULT),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "glm", "exaone4"), DEFAULT),
    **dict.fromkeys(("qwen3_moe", "mixtral", "gpt_oss", "smollm3", "glm4", "granite", "olmo2"), DEFAULT),
    **dict.fromkeys(("hunyuan_v1_dense", "baichuan", "internlm2"), DEFAULT),
    **dict.fromkeys(("qwen2_moe", "granitemoe", "phi", "stablelm", "starcoder2", "gpt2", "opt"), DEFAULT),
    **dict.fromkeys(("bloom", "cohere", "cohere2", "olmo", "lfm2"), DEFAULT),
    "granitemoehybrid": "transformers-5.5.4",
    "chatglm": "transformers-4.55.4",
    "qwen": "transformers-4.55.4",
    "minicpm": "transformers-4.53.3",
}
UNSUPPORTED = ("gemma4_text", "olmo3", "ministral3", "ernie4_5")


def test_the_table_has_every_family_that_was_measured() -> None:
    stacks = load_stacks()
    listed = {model_type for stack in stacks.stacks for model_type in stack.model_types}
    assert listed == MEASURED.keys()
    assert stacks.unsupported.keys() == set(UNSUPPORTED)


@pytest.mark.parametrize(("model_type", "stack"), sorted(MEASURED.items()))
def test_a_family_goes_to_the_first_stack_that_exports_it(model_type: str, stack: str) -> None:
    assert load_stacks().choose(model_type) == stack


@pytest.mark.parametrize("model_type", ["", "falcon", "nobody_has_heard_of"])
def test_a_family_that_was_never_measured_is_tried_with_the_default(model_type: str) -> None:
    assert load_stacks().choose(model_type, {DEFAULT}) == DEFAULT


@pytest.mark.parametrize("model_type", UNSUPPORTED)
def test_a_family_that_no_stack_exports_is_refused_with_the_nearest(model_type: str) -> None:
    near = load_stacks().nearest[model_type]
    with pytest.raises(FamilyNotExported, match=rf"{model_type}: optimum-intel .* nearest model that works is {near}"):
        load_stacks().choose(model_type)


@pytest.mark.parametrize(
    ("model_type", "near"),
    [
        ("chatglm", "glm-4-9b-chat-hf"),
        ("qwen", "qwen2.5-7b-instruct"),
        ("minicpm", "qwen2.5-1.5b-instruct"),
        ("granitemoehybrid", "granite-3.3-2b-instruct"),
    ],
)
def test_a_family_whose_stack_is_not_installed_is_refused_with_the_stack_and_the_nearest(
    model_type: str, near: str
) -> None:
    with pytest.raises(FamilyNotExported) as caught:
        load_stacks().choose(model_type, {DEFAULT})
    assert MEASURED[model_type] in caught.value.message
    assert DEFAULT in caught.value.message
    assert near in caught.value.message
    assert caught.value.param == "source_model"


def test_a_second_stack_serves_what_the_first_would_where_it_alone_is_installed() -> None:
    assert load_stacks().choose("qwen3_moe", {"transformers-5.5.4"}) == "transformers-5.5.4"


def test_every_nearest_model_is_of_the_catalogue_and_of_the_default_stack() -> None:
    stacks, catalog = load_stacks(), load_catalog()
    for model_type, near in stacks.nearest.items():
        entry = catalog.find(near)
        assert entry is not None, near
        assert entry.id == near
        assert stacks.choose(entry.family, {DEFAULT}) == DEFAULT, model_type


def test_every_family_of_the_catalogue_is_listed() -> None:
    listed = {model_type for stack in load_stacks().stacks for model_type in stack.model_types}
    assert {entry.family for entry in load_catalog().entries} <= listed


def test_a_lock_file_pins_the_version_of_its_stack() -> None:
    for stack in load_stacks().stacks:
        version = stack.name.removeprefix("transformers-")
        lower, upper = re.fullmatch(r">=([0-9.]+),<([0-9.]+)", stack.transformers).groups()  # type: ignore[union-attr]
        parts = [int(part) for part in version.split(".")[:2]]
        assert [int(part) for part in lower.split(".")] <= parts < [int(part) for part in upper.split(".")]
        assert stack.lock is not None
        assert f"transformers=={version}\n" in (ROOT / stack.lock).read_text("utf-8")


def test_each_stack_beside_the_default_has_a_lock_file_of_its_name_and_no_other_is_there() -> None:
    """deploy/bin/stacks installs what lies there, and the converter looks for the folder of the stack's name."""
    expected = {f"deploy/locks/stack-{stack.name}.lock" for stack in load_stacks().stacks[1:]}
    assert {stack.lock for stack in load_stacks().stacks[1:]} == expected
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "deploy" / "locks").glob("stack-*.lock")} == expected


def test_a_stack_pins_only_what_differs_from_the_converter() -> None:
    converter = set((ROOT / "deploy" / "locks" / "converter.lock").read_text("utf-8").splitlines())
    for stack in load_stacks().stacks[1:]:
        pins = (ROOT / str(stack.lock)).read_text("utf-8").splitlines()
        assert not converter & set(pins), stack.name
        heavy = ("torch==", "openvino", "nncf==", "optimum", "numpy==", "pydantic")
        assert not [pin for pin in pins if pin.startswith(heavy)], stack.name
