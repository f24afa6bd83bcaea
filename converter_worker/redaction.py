"""Secrets taken out of texts that leave the converter: log lines, errors, events."""

import re
from collections.abc import Iterable

#: Tokens by their form, keys in addresses and headers, for what the operator's own secrets do not cover.
_SECRET_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|ovk-[A-Za-z0-9_-]{16,})|(?<=[Bb]earer )\S+|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
HIDDEN = "***"
_MESSAGE_LENGTH = 300


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with these secrets, and with whatever has the form of one, hidden."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _SECRET_FORMS.sub(HIDDEN, text)


def first_line(error: BaseException) -> str:
    """Return what an error says first, bounded and without secrets; its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_secrets(lines[0] if lines else type(error).__name__)[:_MESSAGE_LENGTH]
