"""For every name of the catalogue: what the job that an admin asks for by it will fetch, and how it compresses it.

The table is written out, so that a slip in the catalogue's files is seen here and not by a hub.
"""

from __future__ import annotations

import pytest

from gateway.conversions.planning import plan_conversion
from shared.catalog import load_catalog
from shared.schemas.conversion import ConversionPlan, ConversionRequest
from shared.schemas.models import Recipe

DEFAULT, OLD, OLDEST = "transformers-4.57.6", "transformers-4.55.4", "transformers-4.53.3"
QWEN_REVISION = "2abd8e5777bb4ce9c8ab4be7dbbd0fe4526db78d"
PLAIN, SYM64, SYM128 = (False, 128, 0.8), (True, 64, 0.6), (True, 128, 0.8)

#: id and aliases; repository; INT4 recipe (sym, group, ratio); trusts the model's code; stack.
TABLE: list[tuple[str, str, tuple[bool, int, float], bool, str]] = [
    ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", (False, 64, 1.0), False, DEFAULT),
    ("smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", (False, 64, 1.0), False, DEFAULT),
    ("smollm2-1.7b-instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", PLAIN, False, DEFAULT),
    ("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", PLAIN, False, DEFAULT),
    ("tiny-llama-1b-chat tinyllama-1.1b-chat-v1.0", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", PLAIN, False, DEFAULT),
    ("qwen2-0.5b-instruct", "Qwen/Qwen2-0.5B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2-1.5b-instruct", "Qwen/Qwen2-1.5B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2-7b-instruct", "Qwen/Qwen2-7B-Instruct", PLAIN, False, DEFAULT),
    ("qwen1.5-0.5b-chat", "Qwen/Qwen1.5-0.5B-Chat", PLAIN, False, DEFAULT),
    ("qwen1.5-1.8b-chat", "Qwen/Qwen1.5-1.8B-Chat", PLAIN, False, DEFAULT),
    ("qwen1.5-7b-chat", "Qwen/Qwen1.5-7B-Chat", PLAIN, False, DEFAULT),
    ("qwen-7b-chat", "Qwen/Qwen-7B-Chat", (True, 128, 0.6), True, OLD),
    ("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2.5-3b-instruct", "Qwen/Qwen2.5-3B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct", PLAIN, False, DEFAULT),
    ("qwen2.5-14b-instruct", "Qwen/Qwen2.5-14B-Instruct", PLAIN, False, DEFAULT),
    ("qwen3-0.6b", "Qwen/Qwen3-0.6B", PLAIN, False, DEFAULT),
    ("qwen3-1.7b", "Qwen/Qwen3-1.7B", PLAIN, False, DEFAULT),
    ("qwen3-4b", "Qwen/Qwen3-4B", PLAIN, False, DEFAULT),
    ("qwen3-8b", "Qwen/Qwen3-8B", PLAIN, False, DEFAULT),
    ("qwen3-14b", "Qwen/Qwen3-14B", PLAIN, False, DEFAULT),
    ("qwen3-4b-instruct-2507", "Qwen/Qwen3-4B-Instruct-2507", PLAIN, False, DEFAULT),
    ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", PLAIN, False, DEFAULT),
    ("qwen3-30b-a3b-instruct-2507", "Qwen/Qwen3-30B-A3B-Instruct-2507", PLAIN, False, DEFAULT),
    ("gemma-2b-it", "google/gemma-2b-it", SYM64, False, DEFAULT),
    ("gemma-7b-it", "google/gemma-7b-it", SYM128, False, DEFAULT),
    ("gemma-2-2b-it", "google/gemma-2-2b-it", PLAIN, False, DEFAULT),
    ("gemma-2-9b-it", "google/gemma-2-9b-it", PLAIN, False, DEFAULT),
    ("gemma-3-270m-it", "google/gemma-3-270m-it", PLAIN, False, DEFAULT),
    ("gemma-3-1b-it", "google/gemma-3-1b-it", PLAIN, False, DEFAULT),
    ("red-pajama-3b-chat", "togethercomputer/RedPajama-INCITE-Chat-3B-v1", (False, 128, 0.5), False, DEFAULT),
    ("llama-2-7b-chat llama-2-chat-7b llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-chat-hf", SYM128, False, DEFAULT),
    ("llama-3-8b-instruct meta-llama-3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct", SYM128, False, DEFAULT),
    ("llama-3.1-8b-instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct", SYM128, False, DEFAULT),
    ("llama-3.2-1b-instruct", "meta-llama/Llama-3.2-1B-Instruct", PLAIN, False, DEFAULT),
    ("llama-3.2-3b-instruct", "meta-llama/Llama-3.2-3B-Instruct", PLAIN, False, DEFAULT),
    ("mistral-7b mistral-7b-v0.1", "mistralai/Mistral-7B-v0.1", SYM64, False, DEFAULT),
    ("mistral-7b-instruct mistral-7b-instruct-v0.1", "mistralai/Mistral-7B-Instruct-v0.1", SYM64, False, DEFAULT),
    ("mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3", SYM64, False, DEFAULT),
    ("mixtral-8x7b-instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1", PLAIN, False, DEFAULT),
    ("zephyr-7b-beta", "HuggingFaceH4/zephyr-7b-beta", SYM64, False, DEFAULT),
    ("notus-7b-v1", "argilla/notus-7b-v1", SYM64, False, DEFAULT),
    ("neural-chat-7b-v3-1", "Intel/neural-chat-7b-v3-1", SYM64, False, DEFAULT),
    ("neural-chat-7b-v3-3", "Intel/neural-chat-7b-v3-3", SYM64, False, DEFAULT),
    (
        "phi-3-mini-instruct phi3-mini-instruct phi-3-mini-4k-instruct",
        "microsoft/Phi-3-mini-4k-instruct",
        PLAIN,
        True,
        DEFAULT,
    ),
    ("phi-3.5-mini-instruct", "microsoft/Phi-3.5-mini-instruct", PLAIN, True, DEFAULT),
    ("phi-4-mini-instruct", "microsoft/Phi-4-mini-instruct", PLAIN, False, DEFAULT),
    ("mpt-7b-chat", "mosaicml/mpt-7b-chat", PLAIN, False, DEFAULT),
    ("chatglm2-6b", "THUDM/chatglm2-6b", (True, 128, 0.72), True, OLD),
    ("chatglm3-6b", "THUDM/chatglm3-6b", PLAIN, True, OLD),
    ("glm-4-9b-chat", "THUDM/glm-4-9b-chat", PLAIN, True, OLD),
    ("glm-4-9b-chat-hf", "THUDM/glm-4-9b-chat-hf", PLAIN, False, DEFAULT),
    ("glm-4-9b-0414", "THUDM/GLM-4-9B-0414", PLAIN, False, DEFAULT),
    ("baichuan2-7b-chat", "baichuan-inc/Baichuan2-7B-Chat", PLAIN, True, DEFAULT),
    ("mini-cpm-2b-dpo minicpm-2b-dpo minicpm-2b-dpo-fp16", "openbmb/MiniCPM-2B-dpo-fp16", SYM64, True, OLDEST),
    ("internlm2-chat-1.8b internlm2-chat-1_8b", "internlm/internlm2-chat-1_8b", PLAIN, True, DEFAULT),
    ("youri-7b-chat", "rinna/youri-7b-chat", PLAIN, False, DEFAULT),
    ("deepseek-r1-distill-qwen-1.5b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", PLAIN, False, DEFAULT),
    ("deepseek-r1-distill-qwen-7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", PLAIN, False, DEFAULT),
    ("deepseek-r1-distill-qwen-14b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", PLAIN, False, DEFAULT),
    ("deepseek-r1-distill-llama-8b", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", PLAIN, False, DEFAULT),
    ("deepseek-r1-0528-qwen3-8b", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", PLAIN, False, DEFAULT),
    ("granite-3.3-2b-instruct", "ibm-granite/granite-3.3-2b-instruct", PLAIN, False, DEFAULT),
    ("granite-3.3-8b-instruct", "ibm-granite/granite-3.3-8b-instruct", PLAIN, False, DEFAULT),
    ("olmo-2-0425-1b-instruct", "allenai/OLMo-2-0425-1B-Instruct", PLAIN, False, DEFAULT),
    ("olmo-2-1124-7b-instruct", "allenai/OLMo-2-1124-7B-Instruct", PLAIN, False, DEFAULT),
    ("gpt-oss-20b", "openai/gpt-oss-20b", (False, 64, 0.8), False, DEFAULT),
]
NAMED = [
    (name, repository, int4, trusts, stack)
    for names, repository, int4, trusts, stack in TABLE
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
    assert len(TABLE) == len(load_catalog().entries)


def test_every_name_of_a_model_plans_the_same_job() -> None:
    """Else a second admin who uses another name would convert the model again instead of joining the job."""
    for names, repository, *_ in TABLE:
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
