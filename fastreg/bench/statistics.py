"""Medians and their intervals, by order statistics: nothing is assumed about the noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["CONFIDENCE", "Median", "geometric_mean", "median", "ratio"]

CONFIDENCE = 0.95


class Median(NamedTuple):
    """A median and an interval that holds the true one."""

    value: float
    low: float
    high: float


def median(samples: Sequence[float]) -> Median:
    """Return the median and the narrowest interval of two samples that holds it with CONFIDENCE.

    The true median lies between the k-th smallest and the k-th largest of n samples with
    probability 1 - 2 P(B < k), B binomial with n trials of 1/2 (David & Nagaraja, "Order
    statistics", 2003, section 7.1). With fewer than six samples, all of them are taken: five
    hold it with 0.94.

    Examples
    --------
    >>> median([3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0, 8.0, 9.0])
    Median(value=5.0, low=2.0, high=8.0)
    """
    ordered, n = sorted(samples), len(samples)
    k, outside = 0, 0.0
    while k < n // 2:
        outside += math.comb(n, k) / 2**n  # P(B < k + 1)
        if 1 - 2 * outside < CONFIDENCE:
            break
        k += 1
    k = max(k, 1)
    return Median(statistics.median(ordered), ordered[k - 1], ordered[n - k])


def ratio(others: Sequence[float], own: Sequence[float]) -> Median:
    """Return how many times as long others take: the median of the ratios within rounds.

    Both were timed in the same rounds, so what slows a round down slows both sides of its ratio.

    Examples
    --------
    >>> ratio([2.0, 4.0, 40.0], [1.0, 2.0, 20.0]).value
    2.0
    """
    return median([one / other for one, other in zip(others, own, strict=False)])


def geometric_mean(values: Sequence[float]) -> float:
    """Return the mean of ratios.

    Examples
    --------
    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))
