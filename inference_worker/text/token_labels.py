"""The text of single tokens, for log probabilities."""

from __future__ import annotations

from inference_worker.engine import TokenLogprob
from inference_worker.text.tokenizer import Tokenizer
from shared.schemas.generation import AlternativeToken, TokenScore

_ANCHOR = "a"


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
        top = tuple(
            AlternativeToken(token_id=other, token=self.text(other), logprob=value) for other, value in logprob.top
        )
        return TokenScore(token_id=token_id, token=self.text(token_id), logprob=logprob.logprob, top=top)
