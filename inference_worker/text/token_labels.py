"""The text of single tokens, for log probabilities."""

from __future__ import annotations

from typing import TypedDict

from inference_worker.engine import TokenLogprob
from inference_worker.text.tokenizer import Tokenizer
from shared.schemas.generation import AlternativeToken, TokenScore

_ANCHOR = "a"
_REPLACEMENT = "\ufffd"


class _Label(TypedDict):
    token_id: int
    token: str
    token_bytes: tuple[int, ...] | None


class TokenLabels:
    """Shows a token as it looks in the middle of a text; a part of a character is U+FFFD."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Some decoders drop the blank in front of a text, so a token is shown behind another one.
        self._anchor = tokenizer.encode(_ANCHOR)
        self._anchor_text = tokenizer.decode(self._anchor, special=True)

    def text(self, token_id: int) -> str:
        """The text of one token."""
        return self._tokenizer.decode((*self._anchor, token_id), special=True)[len(self._anchor_text) :]

    def score(self, token_id: int, logprob: TokenLogprob) -> TokenScore:
        """A token's log probability and its alternatives'."""
        top = tuple(AlternativeToken(logprob=value, **self._label(other)) for other, value in logprob.top)
        return TokenScore(logprob=logprob.logprob, top=top, **self._label(token_id))

    def _label(self, token_id: int) -> _Label:
        text = self.text(token_id)
        raw = self._tokenizer.token_bytes(token_id) if _REPLACEMENT in text else None
        return {"token_id": token_id, "token": text, "token_bytes": None if raw is None else tuple(raw)}
