"""What a test error is made of: bias, variance and noise, from a model refitted many times."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import choice, flag, integer, shown, size
from fastreg._core.seeds import generator
from fastreg.study.workers import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Data, Seed

__all__ = ["BiasVariance", "bias_variance"]


MOST_JOBS = 2**15


class BiasVariance(NamedTuple):
    """The parts of a model's expected error, averaged over the test points.

    ``bias2 + variance + noise + residual == total`` up to rounding, where ``total`` is measured
    directly. ``residual`` is 0 up to rounding, except for squared loss with ``truth``: there it is
    the chance correlation of noise and bias on these test points, and shrinks with their number.
    ``noise`` is None where it cannot be known; ``bias2`` then contains it. ``*_se`` are standard
    errors due to the finite number of rounds, NaN where none can be given (one round, or the bias
    of zero_one).
    """

    loss: str
    rounds: int
    bias2: float
    variance: float
    noise: float | None
    residual: float
    total: float
    bias2_se: float
    variance_se: float
    total_se: float


def bias_variance(
    make_model: Callable[[], Any],
    X: Data,
    y: Data,
    X_test: Data,
    y_test: Data,
    *,
    rounds: int = 100,
    loss: str = "squared",
    truth: Data = None,
    train_size: int | None = None,
    rng: Seed = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> BiasVariance:
    """Split a model's test error into bias², variance and noise: a `BiasVariance`.

    The model is fitted ``rounds`` times, each time on rows drawn with replacement from X, y. With
    main prediction p̄ (mean or most frequent prediction at a test point) and target t (the truth
    if given, else the label):

    - squared: ``bias² = (p̄ - t)²``, ``variance = E (p - p̄)²``, ``noise = (y - t)²``, the first
      two corrected for the finite number of rounds (bias² may come out just below 0);
    - zero_one (Domingos, 2000): ``bias² = [p̄ ≠ t]``, ``variance = P(p ≠ t) - [p̄ ≠ t]``, which is
      negative where straying from a wrong main prediction helps, and
      ``noise = P(p ≠ y) - P(p ≠ t)``.

    Parameters
    ----------
    make_model : callable
        Returns a new model with ``fit(X, y)`` and ``predict(X)``. If it has a parameter ``rng``,
        it is given the round's own ``numpy.random.Generator``.
    X, y : array_like of shape (n, ...) and (n,)
        The pool the training sets are drawn from.
    X_test, y_test : array_like of shape (m, ...) and (m,)
        The points at which the error is measured.
    rounds : int
        Number of fits.
    loss : {"squared", "zero_one"}
        For regression and for classification.
    truth : array_like of shape (m,), optional
        The noiseless targets (squared) or the most probable labels (zero_one) at ``X_test``.
    train_size : int, optional
        Rows per round, n by default (the bootstrap). Samples of far fewer rows are nearly
        independent.
    rng : seed or Generator, optional
        Source of the rows, which are the same for every ``n_jobs``; left out, NumPy's global
        state.
    n_jobs : int, optional
        Number of processes, as in joblib (-1: one per core); ``joblib.parallel_config`` chooses
        other backends.
    progress : bool
        Show a progress bar on a terminal.

    Raises
    ------
    ImportError
        If joblib, or tqdm for the bar, is missing; ``fastreg[lab]`` installs both.
    TypeError, ValueError
        If arguments or the shapes of arrays and predictions do not fit.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> X, y = np.eye(8), np.arange(8.0)
    >>> stiff, loose = (bias_variance(lambda: Ridge(a), X, y, X, y, rng=0) for a in (10, 0.1))
    >>> stiff.bias2 > loose.bias2, stiff.variance < loose.variance
    (True, True)
    """
    where = "bias_variance"
    if not callable(make_model):
        raise TypeError(f"{where}: make_model must be a function, got {shown(make_model)}")
    rounds = size(where, "rounds", rounds)
    choice(where, "loss", loss, ("squared", "zero_one"))
    X, y = _pair("X", X, "y", y)
    X_test, y_test = _pair("X_test", X_test, "y_test", y_test)
    target = y_test if truth is None else _array("truth", truth)
    _same_shape("truth", target, y_test)
    rows = len(y) if train_size is None else size(where, "train_size", train_size)
    progress = flag(where, "progress", progress)
    if n_jobs is not None and integer(where, "n_jobs", n_jobs, low=-MOST_JOBS, high=MOST_JOBS) == 0:
        raise ValueError(f"{where}: n_jobs must not be 0; -1 means all cores")
    seeds = generator(where, rng).integers(2**32, size=(rounds, 4))
    joblib = _extra("joblib")
    tasks = (
        joblib.delayed(_one_round)(make_model, X, y, X_test, rows, np.random.default_rng(seed))
        for seed in seeds
    )
    fits = results(tasks, n_jobs, ordered=True)
    if progress:  # disable=None: on a terminal only
        fits = _extra("tqdm").tqdm(fits, total=rounds, desc=where, unit="fit", disable=None)
    predictions = list(fits)
    for prediction in predictions:
        _same_shape("predictions", prediction, y_test)
    split = _squared if loss == "squared" else _zero_one
    with np.errstate(under="ignore", over="ignore"):
        parts: Any = split(np.stack(predictions), y_test, target)
        power, bias2, variance, noise, losses, *errors = parts
        numbers = {
            "bias2": bias2,
            "variance": variance,
            "noise": noise,
            "residual": losses.mean() - (bias2 + variance + noise),
            "total": losses.mean(),
            "bias2_se": errors[0],
            "variance_se": errors[1],
            "total_se": _standard_error(losses),
        }
        # By halves: twice the power may be beyond any float, where the number is not.
        found: Any = {n: float(np.ldexp(np.ldexp(v, power), power)) for n, v in numbers.items()}
    if truth is None:
        found["noise"] = None
    return BiasVariance(loss=loss, rounds=rounds, **found)


def _one_round(make_model, X, y, X_test, size, rng):
    rows = rng.integers(len(y), size=size)
    model = make_model(rng=rng) if _takes_rng(make_model) else make_model()
    if not (hasattr(model, "fit") and hasattr(model, "predict")):
        raise TypeError(
            "bias_variance: make_model must return a model with fit and predict, got "
            f"{shown(model)}"
        )
    model.fit(X[rows], y[rows])
    return np.asarray(model.predict(X_test))


def _squared(p, y, target):
    """Return a power of two, and the parts of the error in units of its square."""
    named = (("predictions", p), ("y_test", y), ("truth", target))
    arrays = [_real(name, values) for name, values in named]
    power = int(np.frexp(max(np.abs(values).max(initial=0.0) for values in arrays))[1])
    p, y, target = (np.ldexp(values, -power) for values in arrays)
    rounds, main = len(p), p.mean(axis=0)
    away = p - main
    spread = _per_round(away**2)
    # The mean of n fits itself varies by variance / n, which belongs to the variance.
    correction = spread.mean() / (rounds - 1) if rounds > 1 else 0.0
    return (
        power,
        np.mean((main - target) ** 2) - correction,
        spread.mean() + correction,
        np.mean((y - target) ** 2),
        _per_round((p - y) ** 2),
        _standard_error(_per_round(2.0 * away * (main - target))),
        _standard_error(spread),
    )


def _zero_one(p, y, target):
    for name, labels in (("predictions", p), ("y_test", y), ("truth", target)):
        _finite(name, labels)
    labels, votes = np.unique(p, return_inverse=True)
    votes = votes.reshape(p.shape)
    counts = np.stack([(votes == k).sum(axis=0) for k in range(len(labels))])
    main = labels[counts.argmax(axis=0)]
    biased = main != target
    strays = _per_round(np.where(biased, -1.0 * (p == target), 1.0 * (p != main)))
    return (
        0,
        biased.mean(),
        strays.mean(),
        np.mean((y != target) * (1.0 * (p == target) - (p == y))),
        _per_round(p != y),
        math.nan,
        _standard_error(strays),
    )


def _per_round(values):
    return values.reshape(len(values), -1).mean(axis=1)


def _standard_error(rounds):
    return rounds.std(ddof=1) / math.sqrt(len(rounds)) if len(rounds) > 1 else math.nan


def _real(name, values):
    if values.dtype.kind not in "biuf":
        raise TypeError(f"bias_variance: {name} must be numbers, got {values.dtype}")
    _finite(name, values)
    return values.astype(np.float64)


def _finite(name, values):
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"bias_variance: {name} must be finite, got NaN or infinity")


def _array(name, values):
    """Numbers or, for classes, text."""
    return real("bias_variance", name, values, "fiubU", "an array of numbers or of text")


def _pair(first_name, first, second_name, second):
    first, second = _array(first_name, first), _array(second_name, second)
    lengths = [len(a) if a.ndim else 0 for a in (first, second)]
    if lengths[0] != lengths[1] or not lengths[0]:
        raise ValueError(
            f"bias_variance: {first_name} and {second_name} must have the same number of rows, "
            f"at least 1, got {lengths[0]} and {lengths[1]}"
        )
    return first, second


def _same_shape(name, array, y_test):
    if array.shape != y_test.shape:
        raise ValueError(
            f"bias_variance: {name} must have the shape {y_test.shape} of y_test, got {array.shape}"
        )


def _takes_rng(make_model):
    try:
        return "rng" in inspect.signature(make_model).parameters
    except ValueError:  # some built-in callables have no signature
        return False


def _extra(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"bias_variance: needs {name}, which is not installed; pip install 'fastreg[lab]'"
        ) from None
