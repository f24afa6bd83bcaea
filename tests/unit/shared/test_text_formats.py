from __future__ import annotations

import pytest

from shared.text_formats import text_formats


@pytest.mark.parametrize(
    ("model_type", "names", "tool_format", "reasoning_format"),
    [
        ("qwen2", ("qwen2-0.5b-instruct", "Qwen/Qwen2-0.5B-Instruct"), "hermes", None),
        ("qwen2", ("ours", "Qwen/Qwen2.5-7B-Instruct"), "hermes", None),
        ("qwen2", ("qwen1.5-0.5b-chat",), None, None),
        ("qwen2", ("deepseek-r1-distill-qwen-1.5b",), None, "think_tags"),
        ("llama", ("deepseek-r1-distill-llama-8b",), None, "think_tags"),
        ("qwen3", ("qwen3-0.6b",), "hermes", "think_tags"),
        ("qwen3", ("qwen3-4b-instruct-2507",), "hermes", None),
        ("smollm3", ("smollm3-3b",), "hermes", "think_tags"),
        ("llama", ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"), None, None),
        ("llama", ("llama-3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct"), None, None),
        ("llama", ("llama-3.1-8b-instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"), "llama3_json", None),
        ("llama", ("llama-3.2-1b-instruct",), "llama3_json", None),
        ("llama", ("tiny-llama-1b-chat",), None, None),
        ("mistral", ("mistral-7b-instruct", "mistralai/Mistral-7B-Instruct-v0.1"), None, None),
        ("mistral", ("m", "mistralai/Mistral-7B-Instruct-v0.3"), "mistral", None),
        ("phi3", ("phi-3-mini-instruct",), None, None),
    ],
)
def test_a_family_writes_its_formats(
    model_type: str, names: tuple[str, ...], tool_format: str | None, reasoning_format: str | None
) -> None:
    found = text_formats(model_type, *names)
    assert (found.tool_format, found.reasoning_format) == (tool_format, reasoning_format)
