"""From a network's outputs to predictions: probabilities, means, and their logarithms.

All on the kernels' own exponential and logarithm, so of the same bits on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import activate, softmax_rows

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["exponential", "log_sigmoid", "log_softmax", "logarithm", "sigmoid", "softmax"]


def sigmoid(X: Array) -> Array:
    """Return ``1 / (1 + exp(-X))``.

    Examples
    --------
    >>> sigmoid(np.array([[0.0]])).tolist()
    [[0.5]]
    """
    return activate("sigmoid", "sigmoid", X)


def exponential(X: Array) -> Array:
    """Return ``exp(X)``.

    Examples
    --------
    >>> exponential(np.array([[0.0]])).tolist()
    [[1.0]]
    """
    return activate("exponential", "exp", X)


def softmax(X: Array) -> Array:
    """Return ``exp(X) / sum exp(X)``, row by row.

    Examples
    --------
    >>> softmax(np.array([[1e300, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    return softmax_rows("softmax", "X", X)


def logarithm(X: Array) -> Array:
    """Return ``log(X)``: minus infinity for 0, NaN for what is negative.

    Examples
    --------
    >>> logarithm(np.array([[1.0, 0.0]])).tolist()
    [[0.0, -inf]]
    """
    return activate("logarithm", "log", X)


def log_sigmoid(X: Array) -> Array:
    """Return ``log(sigmoid(X))``, finite where the sigmoid rounds to 0.

    Examples
    --------
    >>> log_sigmoid(np.array([[-1000.0]])).tolist()
    [[-1000.0]]
    """
    return np.minimum(X, 0) - activate("log_sigmoid", "log1p", exponential(-np.abs(X)))


def log_softmax(X: Array) -> Array:
    """Return ``log(softmax(X))``, row by row, finite where a probability rounds to 0.

    Examples
    --------
    >>> log_softmax(np.array([[1000.0, 0.0]])).tolist()
    [[0.0, -1000.0]]
    """
    with np.errstate(over="ignore", invalid="ignore"):  # as the others: what is too far is -inf
        below = X - X.max(axis=1, keepdims=True)
    return below - logarithm(exponential(below).sum(axis=1, keepdims=True))
