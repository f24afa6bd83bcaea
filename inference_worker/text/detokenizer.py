"""Token ids to text, piece by piece, in whole characters."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from inference_worker.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns a growing list of token ids into text that never has to be taken back.

    A character may take several tokens, and a decoder may treat the first token of a text otherwise than the same
    token later. So a window is decoded that begins with tokens whose text was shown already, and text is released
    when it does not end inside a character. Hidden and special tokens are left out before anything is decoded, but
    those in `shown_token_ids`.
    """

    def __init__(
        self, tokenizer: Tokenizer, hidden_token_ids: Collection[int] = (), shown_token_ids: Collection[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._hidden = (tokenizer.special_tokens.keys() | frozenset(hidden_token_ids)) - frozenset(shown_token_ids)
        self._window: list[int] = []
        self._shown_ids = 0
        """How many ids at the window's front have had their text released; they are there as context."""
        self._shown_text = ""

    def is_shown(self, token_id: int) -> bool:
        """Whether a token is neither hidden nor special."""
        return token_id not in self._hidden

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is complete now, perhaps none.

        Ids are taken one by one, so that the text does not depend on how they were grouped: a replay groups them
        otherwise than the steps of the engine did.
        """
        return "".join(self._push_one(token_id) for token_id in token_ids if token_id not in self._hidden)

    def _push_one(self, token_id: int) -> str:
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window, special=True)
        if text.endswith(_REPLACEMENT) or len(text) <= len(self._shown_text):
            return ""
        return self._release(text)

    def flush(self) -> str:
        """The rest at the end of the answer, where an unfinished character becomes U+FFFD."""
        if len(self._window) == self._shown_ids:
            return ""
        return self._release(self._tokenizer.decode(self._window, special=True))

    def _release(self, text: str) -> str:
        piece = text[len(self._shown_text) :]
        self._window = self._window[self._shown_ids :]
        self._shown_ids = len(self._window)
        self._shown_text = self._tokenizer.decode(self._window, special=True)
        return piece
