"""The merges of a SentencePiece vocabulary, which has scores in their place."""

from collections.abc import Sequence


def merges_of(tokens: Sequence[str], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Return the pairs of tokens that make another token, the one of the highest score first."""
    ids = {token: token_id for token_id, token in enumerate(tokens)}
    found: list[tuple[float, int, int, str, str]] = []
    for token, score in zip(tokens, scores, strict=False):
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in ids and right in ids:
                found.append((-score, -len(left), ids[left], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
