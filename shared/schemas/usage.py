"""What a user used on a day, as the interface tells it."""

from __future__ import annotations

from datetime import date

from shared.schemas.common import Message


class UsageDay(Message):
    """One user's UTC day.

    Attributes:
        prompt_tokens: of ended generations, whatever their end; a prompt that no worker took counts nothing.
        cached_tokens: prompt tokens that came from the KV cache; None where no engine told it.
        completion_tokens: that were made, also where the generation was cancelled or failed.
        generations: that ended.
        conversions: that were accepted; one that joined a running job is not counted again.
    """

    user: str
    day: date
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    completion_tokens: int = 0
    generations: int = 0
    conversions: int = 0
