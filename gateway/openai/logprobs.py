"""Log probabilities in the two forms of the API."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from shared.schemas.generation import AlternativeToken, TokenScore

Json = dict[str, JsonValue]


def chat_logprobs(tokens: Sequence[TokenScore]) -> Json:
    """Return the form of chat completions."""
    content: list[JsonValue] = [
        {**_entry(token), "top_logprobs": [_entry(other) for other in token.top]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[TokenScore], offset: int) -> Json:
    """Return the form of completions; ``offset`` is the number of characters before the first token."""
    offsets: list[JsonValue] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    tops: list[JsonValue] = [{other.token: other.logprob for other in token.top} for token in tokens]
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": tops,
        "text_offset": offsets,
    }


def _entry(token: AlternativeToken) -> Json:
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.token.encode() if token.token_bytes is None else token.token_bytes),
    }
