"""The figures of the quality card, against sums written out in another way."""

import math

import numpy as np
import pytest

from converter_worker.stages.quality_metrics import Comparison


def test_figures_of_two_tokens_are_those_worked_out_by_hand() -> None:
    comparison = Comparison()
    reference = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], dtype=np.float32))
    other = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.6, 0.2]], dtype=np.float32))
    comparison.add(reference, other, np.array([0, 1]))
    first = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    second = 0.2 * math.log(0.5) + 0.8 * math.log(0.8 / 0.6)
    assert comparison.tokens == 2
    assert comparison.top1_agreement == 0.5
    assert comparison.kl_divergence == pytest.approx((first + second) / 2, rel=1e-6)
    assert comparison.reference_perplexity == pytest.approx((0.5 * 0.8) ** -0.5, rel=1e-6)
    assert comparison.perplexity == pytest.approx((0.25 * 0.6) ** -0.5, rel=1e-6)


def test_large_logits_overflow_nothing_and_a_common_shift_changes_nothing() -> None:
    """exp of 2,000 is infinite: computed without care, every figure of such a model would be NaN."""
    rows = np.random.default_rng(1).normal(size=(70, 50)).astype(np.float32)
    comparison = Comparison()
    comparison.add(rows, rows + np.float32(2000), np.zeros(70, dtype=np.int64))
    assert comparison.tokens == 70
    assert comparison.top1_agreement == 1.0
    assert comparison.kl_divergence == pytest.approx(0, abs=1e-6)
    assert comparison.perplexity == pytest.approx(comparison.reference_perplexity, rel=1e-3)


def test_texts_may_be_added_one_by_one() -> None:
    rng = np.random.default_rng(2)
    reference, other = (rng.normal(size=(90, 20)).astype(np.float32) for _ in range(2))
    ids = rng.integers(0, 20, size=90)
    whole, parts = Comparison(), Comparison()
    whole.add(reference, other, ids)
    for rows in (slice(0, 7), slice(7, 50), slice(50, 90)):
        parts.add(reference[rows], other[rows], ids[rows])
    assert parts.kl_divergence == pytest.approx(whole.kl_divergence)
    assert parts.perplexity == pytest.approx(whole.perplexity)
    assert parts.top1_agreement == whole.top1_agreement
