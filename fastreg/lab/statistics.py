"""Means over seeds, their intervals, and rankings by them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

__all__ = ["Interval", "Ranking", "listed", "mean_interval", "paired_difference"]


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval, NaN for a single value."""

    mean: float
    half: float

    @property
    def low(self) -> Any:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> Any:
        """The upper end."""
        return self.mean + self.half

    @property
    def excludes_zero(self) -> Any:
        """Whether a difference is larger than the noise."""
        return self.low > 0 or self.high < 0

    def text(self, digits: int = 3, *, scale: Any = 1.0) -> Any:
        """Return ``mean ± half`` with so many digits after the point."""
        if not math.isfinite(self.mean):
            return "–"
        digits = 0 if digits > 2 and abs(scale * self.mean) >= 100 else digits
        half = f" ± {scale * self.half:z.{digits}f}" if math.isfinite(self.half) else ""
        return f"{scale * self.mean:z.{digits}f}{half}"

    def percent(self, digits: int = 1) -> Any:
        """Return a share as per cent, without the sign."""
        return self.text(digits, scale=100.0)


def mean_interval(values: Any, *, among: int = 2, step: Any = 0.0) -> Any:
    """Return the mean over the last axis and its 95 % interval by Student's t.

    The values, one per seed, are taken as independent draws, close enough to normal for t. With
    another axis in front, such as epochs, the interval holds arrays. ``among`` and ``step`` are for
    differences, see `paired_difference`.

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
        spread = np.sqrt(values.var(axis=-1, ddof=1) + step**2 / 6)
        half = t.ppf(quantile, n - 1) * spread / math.sqrt(n)
    return Interval(*_plain(mean, half))


def paired_difference(first: Any, second: Any, *, among: int = 2, step: Any = 0.0) -> Any:
    """Return the mean of ``first - second``, pair by pair, with its interval.

    The pairs share split, initial weights and order, whose effects on both therefore cancel.
    If the best of many is compared, give their number as ``among``: the 95 % then hold for all
    their differences at once, by Bonferroni's inequality. Otherwise the best of 7 equal ones would
    seem better than some other in 40 % of all experiments. ``step`` is for values that are
    counted, such as shares of 30 rows, in steps of 1 / 30: a few seeds may all give the same
    difference of one row, which must not give an interval of width 0. Each value counts as
    uncertain by one step, a variance of step² / 12.

    Examples
    --------
    >>> paired_difference([1.0, 2.0, 3.0], [0.9, 1.8, 2.7]).excludes_zero
    False
    """
    return mean_interval(
        np.asarray(first, np.float64) - np.asarray(second, np.float64), among=among, step=step
    )


class Ranking:
    """Which of many is best, and which are surely worse, all pairs taken into account.

    Parameters
    ----------
    values : dict
        The measured values by name, arrays with one value per seed.
    highest : bool, keyword-only
        Whether more is better.
    step : float, keyword-only
        The step of values that are counted, see `paired_difference`.

    Attributes
    ----------
    names : list of str
        The names, best mean first.
    gaps : dict of Interval
        How much worse each of the others is than the best, in pairs of the same seed.
    equal, behind : list of str
        The others within the noise of the best, and those surely worse.

    Examples
    --------
    >>> Ranking({"a": [1.0, 2.0, 3.0], "b": [1.1, 1.9, 3.0], "c": [9.0, 9.9, 11.0]}).claim("loss")
    'Within the noise a and b share the lowest loss; surely higher: c.'
    """

    best: Any

    def __init__(self, values: Any, *, highest: bool = False, step: Any = 0.0) -> None:
        sign = -1.0 if highest else 1.0
        self.words: Any = ("highest", "lower") if highest else ("lowest", "higher")
        values = {name: np.asarray(one, np.float64) for name, one in values.items()}
        self.names: Any = sorted(values, key=lambda name: sign * values[name].mean())
        self.best, *rest = self.names
        self.gaps: Any = {
            name: paired_difference(
                sign * values[name], sign * values[self.best], among=max(2, len(values)), step=step
            )
            for name in rest
        }
        self.behind: Any = [
            name for name, gap in self.gaps.items()
            if gap.excludes_zero or math.isinf(gap.mean)  # it diverged
        ]  # fmt: skip
        self.equal: Any = [name for name in rest if name not in self.behind]

    def claim(self, what: Any) -> Any:
        """Say which has the best ``what``, beginning with what is within the noise."""
        best, worse = self.words
        if not self.behind:
            return f"Within the noise the {len(self.names)} cannot be told apart by {what}."
        if not self.equal:
            text = f"{self.best} has the {best} {what}, surely below all others."
            text = text.replace("below", "above") if best == "highest" else text
            return text[0].upper() + text[1:]
        behind = listed(self.behind) if len(self.behind) < 5 else f"the other {len(self.behind)}"
        return (
            f"Within the noise {listed([self.best, *self.equal])} share the {best} {what}; "
            f"surely {worse}: {behind}."
        )

    def evidence(self, digits: int = 3, *, scale: Any = 1.0) -> Any:
        """List how much worse each of the others is."""
        return ", ".join(
            f"{name} by {gap.text(digits, scale=scale) if math.isfinite(gap.mean) else '∞'}"
            for name, gap in self.gaps.items()
        )


def listed(names: Any) -> Any:
    """Join names as in a sentence: ``a, b and c``."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _plain(*values) -> list[Any]:
    return [value.item() if value.ndim == 0 else value for value in map(np.asarray, values)]
