"""How far one language model's predictions are from another's, token by token, in float64."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Rows that are taken at once, so that a large vocabulary costs some ten MB.
_ROWS = 32


class Comparison:
    """Sums over predicted tokens; the means are asked for in the end, when there was at least one."""

    def __init__(self) -> None:
        self.tokens = 0
        self._same = 0
        self._divergence = 0.0
        self._reference_loss = 0.0
        self._loss = 0.0

    def add(
        self, reference: "NDArray[np.float32]", logits: "NDArray[np.float32]", true_ids: "NDArray[np.int64]"
    ) -> None:
        """Count the predictions of one text: logits of both, tokens × vocabulary, and the tokens that came."""
        for start in range(0, len(true_ids), _ROWS):
            rows = slice(start, start + _ROWS)
            self._add_rows(reference[rows], logits[rows], true_ids[rows])

    def _add_rows(
        self, reference: "NDArray[np.float32]", logits: "NDArray[np.float32]", true_ids: "NDArray[np.int64]"
    ) -> None:
        import numpy as np

        expected, found = _log_softmax(reference), _log_softmax(logits)
        at = np.arange(len(true_ids))
        self.tokens += len(true_ids)
        self._same += int((reference.argmax(axis=-1) == logits.argmax(axis=-1)).sum())
        self._divergence += float((np.exp(expected) * (expected - found)).sum())
        self._reference_loss -= float(expected[at, true_ids].sum())
        self._loss -= float(found[at, true_ids].sum())

    @property
    def top1_agreement(self) -> float:
        """Share of the tokens for which both find the same token the most likely."""
        return self._same / self.tokens

    @property
    def kl_divergence(self) -> float:
        """Mean KL(reference || other) in nats; rounding must not make it negative."""
        return max(0.0, self._divergence / self.tokens)

    @property
    def reference_perplexity(self) -> float:
        """Perplexity of the reference."""
        return math.exp(self._reference_loss / self.tokens)

    @property
    def perplexity(self) -> float:
        """Perplexity of the other."""
        return math.exp(self._loss / self.tokens)


def _log_softmax(logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
    import numpy as np

    shifted: NDArray[np.float64] = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
