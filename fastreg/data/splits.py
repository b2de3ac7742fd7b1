"""Data sets: read from files, split by class, standardised by their training part."""

from dataclasses import dataclass

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import flag, number
from fastreg._core.seeds import generator

__all__ = ["Dataset", "Standardizer", "split"]


@dataclass(frozen=True)
class Dataset:
    """A problem in three disjoint parts, features in float32.

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
    def sizes(self):
        """Samples in training, validation and test."""
        return len(self.y_train), len(self.y_val), len(self.y_test)


FAR = 1e300  # sums and squares of columns this large, or this small inverted, leave float64


class Standardizer:
    """Shift and scale every feature to mean 0 and standard deviation 1 on the data it has seen.

    Parameters
    ----------
    X : array of shape (N, n_features)
        Training data, nothing else: what is learnt from other data leaks into training.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        In float64; the scale of a constant feature is 1.

    Examples
    --------
    >>> standardize = Standardizer(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> standardize(np.array([[2.0, 6.0]]))
    array([[0., 1.]], dtype=float32)
    """

    def __init__(self, X):
        X = _table("Standardizer", X).astype(np.float64)
        if not len(X):
            raise ValueError(f"Standardizer: X must have rows, got shape {X.shape}")
        self.mean, self.scale = _moments(X)

    def __call__(self, X):
        """Return X transformed, in float32."""
        X = _table("Standardizer", X)
        if X.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardizer: X must have rows of shape {self.mean.shape}, got {X.shape[1:]}"
            )
        with np.errstate(under="ignore"):
            unit = np.where((self.scale > FAR) | (abs(self.mean) > FAR), 0.5, 1.0)
            difference = X.astype(np.float64) * unit - self.mean * unit
            return (difference / self.scale / unit).astype(np.float32)


def _moments(X):
    """Mean and standard deviation of the columns; 1 for that of a constant one."""
    low, high = X.min(axis=0), X.max(axis=0)
    with np.errstate(all="ignore"):
        mean, scale = X.mean(axis=0), X.std(axis=0)
        size = np.maximum(abs(low), abs(high))
        near = (high - low < FAR**0.5) & (high - low > FAR**-0.5) & (size < FAR)
        if not near.all():  # sums or squares may have left the range: in a unit of each column
            powers = np.where(near | ~np.isfinite(size), 0, np.frexp(size)[1])
            shrunk = np.ldexp(X, -powers)
            middle = shrunk.mean(axis=0)
            away = shrunk - middle
            more = np.frexp(abs(away).max(axis=0))[1]
            root = np.sqrt(np.square(np.ldexp(away, -more)).mean(axis=0))
            mean = np.where(near, mean, np.ldexp(middle, powers))
            scale = np.where(near, scale, np.ldexp(root, more + powers))
    return mean, np.where(low == high, 1.0, scale)


def split(name, X, y, *, validation=0.2, test=0.2, standardize=True, rng=None):
    """Split into training, validation and test; standardise by the training part.

    Rows are shuffled within their class, and each part takes evenly spaced rows of the classes
    in turn, so that every class has its share of each part to within one row.

    Parameters
    ----------
    name : str
        Of the data set.
    X, y : array of shape (N, n_features), array of shape (N,)
        Features and classes, or real targets; those are binned by rank in the same way.
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
    X = _table("split", X)
    y = _targets(len(X), y)
    order = generator("split", rng).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    in_val, rest = _spread(order, validation)
    in_test, in_train = _spread(rest, test / (1.0 - validation))
    if not len(in_train):
        raise ValueError(f"split: X must leave rows for training, got {len(X)} in all")
    transform = Standardizer(X[in_train]) if standardize else np.float32
    parts = [(transform(X[rows]), y[rows]) for rows in map(np.sort, (in_train, in_val, in_test))]
    return Dataset(name, *(array for part in parts for array in part))


def _table(where, X):
    """Return X as an array of finite real numbers, one row per sample."""
    columns = [str(column) for column in getattr(X, "columns", ())]  # of a DataFrame
    X = real(where, "X", X)
    if X.ndim < 2:
        raise ValueError(
            f"{where}: X must have one row per sample, got shape {X.shape}; a single feature is "
            "X[:, None]"
        )
    bad = ~np.isfinite(X)
    if bad.any():
        row, *place = np.argwhere(bad)[0].tolist()
        label = place[0] if len(place) == 1 else tuple(place)
        label = repr(columns[label]) if columns else label
        raise ValueError(
            f"{where}: X must be finite, got {X[(row, *place)]} in column {label}, first in row "
            f"{row} and {bad[(slice(None), *place)].sum()} in all; leave the rows or the column out"
        )
    return X


def _targets(n, y):
    """Return y as a vector of n finite numbers or words."""
    y = real("split", "y", y, kinds="fiubUS", what="a vector of numbers or words")
    if y.ndim != 1 or len(y) != n:
        cure = "; pass y.ravel()" if y.size == n else ""
        raise ValueError(
            f"split: X and y must have one row a sample, got {n} rows and y of shape "
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
