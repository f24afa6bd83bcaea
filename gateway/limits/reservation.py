"""How many of the day's tokens a generation may turn out to use."""

from __future__ import annotations

from shared.schemas.generation import GenerationRequest

#: Bytes of a prompt's JSON for a token: few vocabularies need more tokens than that, in any language.
BYTES_PER_TOKEN = 3


def tokens_to_reserve(request: GenerationRequest) -> int:
    """Return the longest answer that is asked for, and a guess at the prompt, which only the worker can count."""
    if request.choice:
        return request.params.max_new_tokens
    prompt = request.model_dump_json(include={"messages": True, "options": {"prompt", "tools"}}, exclude_defaults=True)
    return len(prompt.encode()) // BYTES_PER_TOKEN + request.params.max_new_tokens
