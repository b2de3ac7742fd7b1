"""Data sets: read from files, split by class, standardised by their training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import flag, number
from fastreg._core.functions import moments
from fastreg._core.seeds import generator

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data, Seed

__all__ = ["Dataset", "Standardizer", "split"]


@dataclass(frozen=True)
class Dataset:
    """A data set in three disjoint parts, with features in float32.

    Examples
    --------
    >>> data = split("numbers", np.arange(10.0)[:, None], np.arange(10) % 2, rng=0)
    >>> data.sizes
    (6, 2, 2)
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Samples in training, validation and test."""
        return len(self.y_train), len(self.y_val), len(self.y_test)


class Standardizer:
    """Shift and scale every feature to mean 0 and standard deviation 1 on the data it has seen.

    Parameters
    ----------
    X : array of shape (N, n_features)
        The training data alone: statistics of other data would leak into training.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        In float64; the scale of a constant feature is 1.

    Notes
    -----
    Features may have any magnitude that float64 can hold: before squaring, powers of two scale
    them to the order of 1, so that squares neither overflow nor vanish. Sums are taken in an order
    of their own, so that the statistics have the same bits on every machine.

    Examples
    --------
    >>> standardize = Standardizer(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> standardize(np.array([[2.0, 6.0]]))
    array([[0., 1.]], dtype=float32)
    """

    def __init__(self, X: Array) -> None:
        X = _table("Standardizer", X, np.float64)
        if not len(X):
            raise ValueError(f"Standardizer: X must have rows, got shape {X.shape}")
        low, high = X.min(axis=0), X.max(axis=0)
        exponent = np.frexp(np.maximum(-low, high))[1]
        with np.errstate(under="ignore"):
            mean, var = moments(np.ldexp(X, -exponent))
            self.mean: Any = np.where(low == high, low, np.ldexp(mean, exponent))
            self.scale: Any = np.where(low == high, 1.0, np.ldexp(np.sqrt(var), exponent))

    def __call__(self, X: Array) -> Array:
        """Return X transformed, in float32."""
        X = _table("Standardizer", X, np.float64)
        if X.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardizer: X must have rows of shape {self.mean.shape}, got {X.shape[1:]}"
            )
        scale, exponent = np.frexp(self.scale)
        with np.errstate(under="ignore"):
            shifted = np.ldexp(X, -exponent) - np.ldexp(self.mean, -exponent)
            return (shifted / scale).astype(np.float32)


def split(
    name: str,
    X: Data,
    y: Data,
    *,
    validation: float = 0.2,
    test: float = 0.2,
    standardize: bool = True,
    rng: Seed = None,
) -> Dataset:
    """Split into training, validation and test; standardise by the training part.

    Rows are shuffled within their class, and each part takes evenly spaced rows of the classes
    in turn, so that every part has its share of each class, to within one row.

    Parameters
    ----------
    name : str
        Name of the data set.
    X, y : array of shape (N, n_features), array of shape (N,)
        Features, and classes or real targets; real targets are grouped by rank and split likewise.
    validation, test : float, keyword-only
        Shares of all rows, at least 0 and together below 1.
    standardize : bool, keyword-only
        Whether features are standardised.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the shuffle.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError, ValueError
        Shares out of range, features that are no numbers or not finite (the column is named),
        lengths that differ, targets of two dimensions, no training data.

    Examples
    --------
    >>> data = split("numbers", np.arange(10.0)[:, None], np.arange(10) % 2, rng=0)
    >>> float(abs(data.X_train.mean())) < 1e-6
    True
    """
    validation = number("split", "validation", validation, low=0.0, high=1.0, open_high=True)
    test = number("split", "test", test, low=0.0, high=1.0 - validation, open_high=True)
    flag("split", "standardize", standardize)
    X = _table("split", X, None if standardize else np.float32)
    y = _targets(len(X), y)
    order = generator("split", rng).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    in_val, rest = _spread(order, validation)
    in_test, in_train = _spread(rest, test / (1.0 - validation))
    if not len(in_train):
        raise ValueError(f"split: X must leave rows for training, got {len(X)} in all")
    transform: Any = Standardizer(X[in_train]) if standardize else np.float32
    parts = [(transform(X[rows]), y[rows]) for rows in map(np.sort, (in_train, in_val, in_test))]
    return Dataset(name, *(array for part in parts for array in part))


def _table(where, X, dtype=None):
    """Return X as an array of real numbers that are finite in ``dtype``, one row per sample."""
    columns = [str(column) for column in getattr(X, "columns", ())]  # of a DataFrame
    X = real(where, "X", X)
    if X.ndim < 2:
        raise ValueError(
            f"{where}: X must have one row per sample, got shape {X.shape}; a single feature is "
            "X[:, None]"
        )
    with np.errstate(over="ignore"):
        X = X if dtype is None else X.astype(dtype, copy=False)
    bad = ~np.isfinite(X)
    if bad.any():
        row, *place = np.argwhere(bad)[0].tolist()
        label: Any = place[0] if len(place) == 1 else tuple(place)
        label = repr(columns[label]) if columns else label
        raise ValueError(
            f"{where}: X must be finite, got {X[(row, *place)]} in column {label}, first in row "
            f"{row} and {bad[(slice(None), *place)].sum()} in all; leave the rows or the column out"
        )
    return X


def _targets(n, y):
    """Return y as a vector of n finite numbers or words, which pandas holds as objects."""
    kind = getattr(getattr(y, "dtype", None), "kind", None)
    if kind in ("O", "T") and y.ndim == 1:
        words = y.tolist()
        y = np.array(words) if all(isinstance(word, str) for word in words) else y
    y = real("split", "y", y, kinds="fiubUS", what="a vector of numbers or words")
    if y.ndim != 1 or len(y) != n:
        cure = "; pass y.ravel()" if y.size == n else ""
        raise ValueError(
            f"split: X and y must have one row per sample, got {n} rows and y of shape "
            f"{y.shape}{cure}"
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int((~np.isfinite(y)).argmax())
        raise ValueError(f"split: y must be finite, got {y[row]} in row {row}; leave it out")
    return y


def _spread(rows, share):
    """Evenly spaced rows that make up a share, and the others."""
    places = np.floor(np.arange(len(rows) + 1) * share + 1e-9)
    taken = np.diff(places) > 0
    return rows[taken], rows[~taken]
