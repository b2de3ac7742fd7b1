"""Means over seeds, and how far they can be trusted."""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import t

__all__ = ["Interval", "mean_interval", "paired_difference"]


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval, NaN for a single value."""

    mean: float
    half: float

    @property
    def low(self):
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self):
        """The upper end."""
        return self.mean + self.half

    @property
    def excludes_zero(self):
        """Whether a difference is larger than the noise."""
        return self.low > 0 or self.high < 0

    def text(self, digits=3, *, scale=1.0):
        """Return ``mean ± half`` with so many digits after the point."""
        if not math.isfinite(self.mean):
            return "–"
        half = f" ± {scale * self.half:z.{digits}f}" if math.isfinite(self.half) else ""
        return f"{scale * self.mean:z.{digits}f}{half}"

    def percent(self, digits=1):
        """Return a share as per cent, without the sign."""
        return self.text(digits, scale=100.0)


def mean_interval(values, *, among=2):
    """Return the mean over the last axis and its 95 % interval by Student's t.

    The values, one a seed, are taken as independent draws; so close to normal that t holds.
    An axis more in front, such as epochs, gives arrays. ``among`` is for differences, see
    `paired_difference`.

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6, 1908.

    Examples
    --------
    >>> mean_interval([1.0, 2.0, 3.0]).text(2)
    '2.00 ± 2.48'
    """
    values = np.asarray(values, np.float64)
    n = values.shape[-1]
    with np.errstate(invalid="ignore"):  # a run that diverged has no mean
        mean = values.mean(axis=-1)
        if n < 2:
            return Interval(*_plain(mean, np.full_like(mean, np.nan)))
        quantile = 1.0 - 0.025 / math.comb(among, 2)
        half = t.ppf(quantile, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    return Interval(*_plain(mean, half))


def paired_difference(first, second, *, among=2):
    """Return the mean of ``first - second``, pair by pair, with its interval.

    The pairs share split, initial weights and order, so that what these do to both cancels.
    Whoever picks the best of many must say among how many: the 95 % are then for all their
    differences at once, by Bonferroni's inequality, since the best of 7 equals would otherwise
    seem better than some other in 40 % of all experiments.

    Examples
    --------
    >>> paired_difference([1.0, 2.0, 3.0], [0.9, 1.8, 2.7]).excludes_zero
    False
    """
    return mean_interval(
        np.asarray(first, np.float64) - np.asarray(second, np.float64), among=among
    )


def _plain(*values):
    return [value.item() if value.ndim == 0 else value for value in map(np.asarray, values)]
