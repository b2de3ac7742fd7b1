"""Metrics: how good predictions are, as numbers for people; a loss is what training descends.

Each takes ``(y_true, y_pred)`` and a keyword ``sample_weight``, in scikit-learn's order and with
its definitions. A `Trainer` computes those of its ``metrics=`` after every epoch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import choice, shown
from fastreg.nn.links import logarithm
from fastreg.nn.targets import weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Array, Data

__all__ = ["Metric", "accuracy", "auc", "balanced_accuracy", "f1", "log_loss", "mae", "r2"]

NEEDS = ("labels", "probabilities", "logits")
MODES = ("max", "min")


class Metric:
    """A function of targets and predictions, and what a `Trainer` must know of it.

    Parameters
    ----------
    function : callable
        ``function(y_true, y_pred)``, which returns a number. It is given ``sample_weight=`` with
        training data that have weights, if it has an argument of that name.
    name : str, optional
        What the history calls it; left out, the function's ``__name__``.
    needs : {"labels", "probabilities", "logits"}, keyword-only
        What ``y_pred`` is. Labels are what `Trainer.predict` returns: classes, or the outputs
        themselves where they are numbers. Probabilities are those of `Trainer.predict_proba`, of
        shape (N, K); of two classes only the second one's, of shape (N,), as scikit-learn's
        scorers have it. Logits are the outputs of the network. ``y_true`` holds the classes, or
        the targets themselves.
    mode : {"max", "min"}, optional, keyword-only
        Whether more or less is better; it is needed only if the metric is monitored.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or the function has no name.

    Examples
    --------
    >>> def bias(y_true, y_pred):
    ...     return float(np.mean(y_pred - y_true))
    >>> Metric(bias, mode="min")
    Metric(bias, 'bias', needs='labels', mode='min')
    """

    function: Callable[..., Any]
    name: str
    needs: str
    mode: str | None

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        needs: str = "labels",
        mode: str | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"Metric: function must be a function, got {shown(function)}")
        self.function = function
        found: Any = _name_of(function) if name is None else name
        if not isinstance(found, str):
            raise TypeError(f"Metric: name must be a str, got {shown(found)}")
        if not found or found == "<lambda>":
            raise ValueError(
                f"Metric: name must say what the history calls the metric, got {shown(found)}; "
                "give Metric(function, name)"
            )
        self.name = found
        self.needs = choice("Metric", "needs", needs, NEEDS)
        self.mode = None if mode is None else choice("Metric", "mode", mode, MODES)

    def __repr__(self) -> str:
        mode = "" if self.mode is None else f", mode={self.mode!r}"
        return f"Metric({_name_of(self.function)}, {self.name!r}, needs={self.needs!r}{mode})"

    def __call__(self, y_true: Data, y_pred: Data, *, sample_weight: Data = None) -> float:
        """Return the function's value."""
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.function(y_true, y_pred, **options)


def _name_of(function):
    """The name of a function, or of the one that a partial calls."""
    while not hasattr(function, "__name__") and hasattr(function, "func"):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


# --- classes --------------------------------------------------------------------------------


def accuracy(y_true: Data, y_pred: Data, *, sample_weight: Data = None) -> float:
    """Return the share of rows whose class is right.

    Parameters
    ----------
    y_true, y_pred : integer array of shape (N,) or (N, K)
        Classes. With K labels per row, each there or not, a row counts by its share of right ones.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Raises
    ------
    TypeError, ValueError
        Arrays that are no integers, are empty, or differ in shape; a bad weight.

    Examples
    --------
    >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    y_true, y_pred, w = _labels("accuracy", y_true, y_pred, sample_weight)
    right = y_true == y_pred
    return _mean(right if right.ndim == 1 else right.mean(axis=1), w)


def balanced_accuracy(y_true: Data, y_pred: Data, *, sample_weight: Data = None) -> float:
    """Return the mean over the classes in ``y_true`` of the share that is found.

    Parameters
    ----------
    y_true, y_pred : integer array of shape (N,)
        Classes.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Raises
    ------
    TypeError, ValueError
        Arrays that are no integers, are empty, or differ in shape; a bad weight.

    Examples
    --------
    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    where = "balanced_accuracy"
    y_true, y_pred, w = _labels(where, y_true, y_pred, sample_weight, several=False)
    classes, number = np.unique(y_true, return_inverse=True)
    total = np.bincount(number, w, len(classes))
    found = np.bincount(number, w * (y_true == y_pred), len(classes))
    there = total > 0
    return float(np.mean(found[there] / total[there])) if there.any() else math.nan


def f1(
    y_true: Data, y_pred: Data, *, sample_weight: Data = None, average: str | None = None
) -> float:
    r"""Return the harmonic mean of precision and recall, :math:`2 TP / (2 TP + FP + FN)`.

    Parameters
    ----------
    y_true, y_pred : integer array of shape (N,) or (N, K)
        Classes, or K labels per row, each there or not.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.
    average : {"binary", "macro"}, optional, keyword-only
        The F1 of class 1, or the mean of those of all classes that occur (of all K labels). Left
        out, it is "binary" for shape (N,) if there are no classes but 0 and 1. A `Trainer` goes by
        the number of classes that the network has, not by those in the data.

    Raises
    ------
    TypeError, ValueError
        Arrays that are no integers, are empty, or differ in shape; a bad weight or average.

    Notes
    -----
    A class that is neither in ``y_true`` nor in ``y_pred`` has F1 0, as in scikit-learn.

    Examples
    --------
    >>> f1([0, 1, 1, 1], [0, 1, 1, 0]), f1([0, 1, 2], [0, 1, 1])
    (0.8, 0.5555555555555555)
    """
    y_true, y_pred, w = _labels("f1", y_true, y_pred, sample_weight)
    classes = np.union1d(y_true, y_pred)
    if average is None:
        two = y_true.ndim == 1 and np.isin(classes, (0, 1)).all()
        average = "binary" if two else "macro"
    choice("f1", "average", average, ("binary", "macro"))
    if average == "binary":
        classes = np.array([1])
    if y_true.ndim == 1:
        y_true, y_pred = y_true[:, None] == classes, y_pred[:, None] == classes
    elif not np.isin(classes, (0, 1)).all() or average == "binary":
        raise ValueError("f1: y_true of several columns must be 0 or 1, averaged by 'macro'")
    both, either = _sums(w, y_true & y_pred), _sums(w, y_true) + _sums(w, y_pred)
    return float(np.mean(np.divide(2 * both, either, out=np.zeros(len(either)), where=either > 0)))


def auc(y_true: Data, y_score: Data, *, sample_weight: Data = None) -> float:
    """Return the area under the ROC curve: how often a member outscores another row.

    Parameters
    ----------
    y_true : integer array of shape (N,) or (N, K)
        Classes, or K labels per row, each there or not.
    y_score : array of shape (N,) or (N, K)
        Scores of class 1 against class 0 (anything that grows with its probability), or of each of
        K classes or labels.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Returns
    -------
    float
        Ties count half. Of several classes or labels it is the mean over them of each against the
        rest (scikit-learn's ``multi_class="ovr", average="macro"``). NaN if a class has no row, or
        every row, or a score is NaN.

    Raises
    ------
    TypeError, ValueError
        Arrays of another kind, empty, or of shapes that do not fit; a class without a column; a
        bad weight.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    member, score, w = _scores("auc", y_true, "y_score", y_score, sample_weight)
    columns = zip(member.T, score.T, strict=True)
    return float(np.mean([_area(one, scores, w) for one, scores in columns]))


def _area(member, score, w):
    """The area of one class: the weight of pairs in the right order, ties by half, of all pairs."""
    if np.isnan(score).any():
        return math.nan
    order = np.argsort(score, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])  # of each group of ties
    inside = np.add.reduceat(np.where(member, w, 0.0)[order], first)
    outside = np.add.reduceat(np.where(member, 0.0, w)[order], first)
    below = np.cumsum(outside) - outside
    pairs = inside.sum() * outside.sum()
    return float((inside * (below + 0.5 * outside)).sum() / pairs) if pairs > 0 else math.nan


def log_loss(y_true: Data, y_prob: Data, *, sample_weight: Data = None) -> float:
    r"""Return the mean of :math:`-\log p` of the true classes, in nats.

    Parameters
    ----------
    y_true : integer array of shape (N,) or (N, K)
        Classes, or K labels per row, each there or not.
    y_prob : float array of shape (N,) or (N, K)
        Probabilities of class 1, or of each of K classes or labels. They are clipped by the
        epsilon of their dtype, so that no logarithm is infinite.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Returns
    -------
    float
        Of several labels per row it is the mean over rows and labels. NaN if a probability is.

    Raises
    ------
    TypeError, ValueError
        Arrays of another kind, empty, or of shapes that do not fit; a class without a column;
        probabilities outside [0, 1]; a bad weight.

    Examples
    --------
    >>> round(log_loss([0, 1], [0.5, 0.25]), 4)
    1.0397
    """
    where = "log_loss"
    member, p, w = _scores(where, y_true, "y_prob", y_prob, sample_weight)
    if p.dtype.kind != "f":
        p = p.astype(np.float64)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"{where}: y_prob must be from 0 to 1, got {p.min()} … {p.max()}")
    eps = np.finfo(p.dtype).eps
    classes = np.ndim(y_true) == 1 and np.ndim(y_prob) == 2
    p = p if classes else np.where(member, p, 1 - p)  # of what is true
    logs = logarithm(np.clip(p, eps, 1 - eps).astype(np.float64))
    by_row = np.where(member, logs, 0.0).sum(axis=1) if classes else logs.mean(axis=1)
    return 0.0 - _mean(by_row, w)


# --- numbers --------------------------------------------------------------------------------


def mae(y_true: Data, y_pred: Data, *, sample_weight: Data = None) -> float:
    """Return the mean absolute error, over rows and outputs.

    Parameters
    ----------
    y_true, y_pred : array of shape (N,) or (N, K)
        Targets and predictions.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Raises
    ------
    TypeError, ValueError
        Arrays that are no numbers, are empty, or differ in shape; a bad weight.

    Examples
    --------
    >>> mae([1.0, 2.0], [1.5, 4.0])
    1.25
    """
    y_true, y_pred, w = _numbers("mae", y_true, y_pred, sample_weight)
    return _mean(np.abs(y_true - y_pred).mean(axis=1), w)


def r2(y_true: Data, y_pred: Data, *, sample_weight: Data = None) -> float:
    r"""Return the share of the variance that is explained, :math:`R^2`.

    .. math:: R^2 = 1 - \frac{\sum_i w_i (y_i - \hat y_i)^2}{\sum_i w_i (y_i - \bar y)^2}

    Parameters
    ----------
    y_true, y_pred : array of shape (N,) or (N, K)
        Targets and predictions.
    sample_weight : array of shape (N,), keyword-only
        Weight of each row, at least 0.

    Returns
    -------
    float
        The mean over the outputs. A constant target counts 1 if it is predicted exactly and 0
        otherwise. NaN for a single row.

    Raises
    ------
    TypeError, ValueError
        Arrays that are no numbers, are empty, or differ in shape; a bad weight.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    y_true, y_pred, w = _numbers("r2", y_true, y_pred, sample_weight)
    if len(y_true) < 2 or not w.sum() > 0:
        return math.nan
    residual = _sums(w, np.square(y_true - y_pred))
    total = _sums(w, np.square(y_true - _sums(w, y_true) / w.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(total == 0, np.where(residual == 0, 1.0, 0.0), 1.0 - residual / total)
    return float(shares.mean())


# --- arguments ------------------------------------------------------------------------------


def _sums(w, columns):
    """Weighted sums of columns; without BLAS, whose order is its own."""
    return (w[:, None] * columns).sum(axis=0)


def _mean(values, w):
    total = w.sum()
    return float((w * values).sum() / total) if total > 0 else math.nan


def _weights(where, sample_weight, n):
    found = weights(where, "sample_weight", sample_weight, n)
    return np.ones(n) if found is None else found


def _array(where, name, value, kinds, what):
    found: Array = real(where, name, value, kinds, what)
    if found.ndim not in (1, 2) or not found.size:
        raise ValueError(f"{where}: {name} must have shape (N,) or (N, K), got {found.shape}")
    return found


def _alike(where, y_true, y_pred, kinds, what):
    """Truth and predictions, arrays of one shape."""
    y_true = _array(where, "y_true", y_true, kinds, what)
    y_pred = _array(where, "y_pred", y_pred, kinds, what)
    if y_pred.shape != y_true.shape:
        raise ValueError(
            f"{where}: y_pred must have shape {y_true.shape}, as y_true, got {y_pred.shape}"
        )
    return y_true, y_pred


def _labels(where, y_true, y_pred, sample_weight, *, several=True):
    """Classes, of the same shape, and weights."""
    y_true, y_pred = _alike(where, y_true, y_pred, "iub", "integers")
    if y_true.ndim > 1 and not several:
        raise ValueError(f"{where}: y_true must have one class per row, got shape {y_true.shape}")
    return y_true, y_pred, _weights(where, sample_weight, len(y_true))


def _scores(where, y_true, name, y_score, sample_weight):
    """Who is a member of each class, as bool; its scores, a column per class; and weights."""
    y_true = _array(where, "y_true", y_true, "iub", "integers")
    score = _array(where, name, y_score, "fiu", "numbers")
    shape = score.shape if y_true.ndim == 2 else score.shape[:1]
    if y_true.shape != shape:
        raise ValueError(
            f"{where}: {name} must have a row per class in y_true, of shape {y_true.shape}, and a "
            f"column per class, got shape {score.shape}"
        )
    classes = score.shape[1] if score.ndim == 2 and y_true.ndim == 1 else 2
    if y_true.min() < 0 or y_true.max() >= classes:
        wrong = y_true.min() if y_true.min() < 0 else y_true.max()
        raise ValueError(f"{where}: y_true must be from 0 to {classes - 1}, got {wrong}")
    w = _weights(where, sample_weight, len(y_true))
    if score.ndim == 1:
        return y_true[:, None] == 1, score[:, None], w
    return y_true == 1 if y_true.ndim == 2 else y_true[:, None] == np.arange(classes), score, w


def _numbers(where, y_true, y_pred, sample_weight):
    """Targets and predictions as float64, a column per output, and weights."""
    y_true, y_pred = _alike(where, y_true, y_pred, "fiu", "numbers")
    n = len(y_true)
    columns = (array.reshape(n, -1).astype(np.float64) for array in (y_true, y_pred))
    return *columns, _weights(where, sample_weight, n)
