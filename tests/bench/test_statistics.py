"""Medians and intervals: coverage, and what scale and order do to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreg.bench import statistics

SAMPLES = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40)


@pytest.mark.parametrize(("n", "k"), [(6, 1), (7, 1), (9, 2), (11, 2), (12, 3), (15, 4), (25, 8)])
def test_ranks_are_those_of_the_binomial_table(n, k):
    """Ranks of the 95 % interval of a median, as tables of the sign test have them."""
    found = statistics.median(list(range(1, n + 1)))
    assert (found.low, found.high) == (k, n + 1 - k)


def test_the_interval_holds_the_median_as_often_as_it_says(rng):
    draws = rng.exponential(size=(4000, 11))
    inside = [low <= np.log(2) <= high for _, low, high in map(statistics.median, draws)]
    assert 0.97 < np.mean(inside) < 1.0  # 0.9883: ranks 2 and 10 of 11


@given(SAMPLES, st.randoms())
def test_order_does_not_matter_and_the_value_is_inside(samples, random):
    found = statistics.median(samples)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert statistics.median(shuffled) == found
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)


def test_ratios_are_taken_within_rounds():
    """A machine that slows down for some rounds slows both sides down."""
    own = [1.0, 1.0, 5.0, 5.0, 1.0, 9.0]
    assert statistics.ratio([2 * one for one in own], own) == (2.0, 2.0, 2.0)
    assert statistics.ratio([2.0, 2.0], own).value == 2.0, "who took fewer samples has the first"


def test_geometric_mean():
    assert statistics.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
