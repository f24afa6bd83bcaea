from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.bench.distribution import distribution, percentile

FIGURES = st.lists(st.floats(0, 1e6), min_size=2, max_size=200)


@given(FIGURES)
def test_percentiles_are_those_of_the_statistics_module(values: list[float]) -> None:
    wanted = statistics.quantiles(values, n=100, method="inclusive")
    found = [percentile(sorted(values), percent) for percent in range(1, 100)]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(FIGURES)
def test_percentiles_rise_and_stay_inside_of_the_figures(values: list[float]) -> None:
    ordered = sorted(values)
    found = [percentile(ordered, percent / 4) for percent in range(401)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (ordered[0], ordered[-1])


def test_a_distribution_says_the_same_in_short() -> None:
    short = distribution(float(value) for value in range(1, 102))
    assert short is not None
    assert (short.count, short.mean, short.p50, short.p90, short.p99, short.max) == (101, 51, 51, 91, 100, 101)
    assert distribution([]) is None
    with pytest.raises(ValueError, match="needs figures"):
        percentile([], 50)
