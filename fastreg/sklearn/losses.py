"""scikit-learn's losses of an MLP, from the outputs before the last activation.

Each takes the outputs Z of shape (N, K), targets, and weights of the samples or None, and returns
the loss and its gradient. As in scikit-learn, a sum over samples is divided by their number (or by
the sum of their weights), and the gradient of several outputs is that of the sum over outputs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.nn import (
    binary_cross_entropy,
    exponential,
    log_sigmoid,
    log_softmax,
    logarithm,
    mse,
    poisson,
    sigmoid,
    softmax,
    softmax_cross_entropy,
)

if TYPE_CHECKING:
    from fastreg._core.types import Array, Loss

__all__ = ["log_responses", "loss_for", "responses"]


def loss_for(out_activation: str, label_smoothing: float = 0.0, dtype: Any = np.float64) -> Loss:
    """Return the loss that goes with the activation of the last layer.

    As in scikit-learn, no cross-entropy is above ``-log(eps)``, with the eps of the data's dtype.
    """
    if out_activation == "identity":
        return _squared
    if out_activation == "exp":
        return _poisson
    loss = _softmax if out_activation == "softmax" else _logistic
    largest = -math.log(np.finfo(dtype).eps)
    return partial(loss, label_smoothing=label_smoothing, largest=largest)


def _softmax(Z, labels, *, sample_weight=None, label_smoothing=0.0, largest=math.inf):
    value, gradient = softmax_cross_entropy(
        Z, labels, sample_weight=sample_weight, label_smoothing=label_smoothing
    )
    if value * len(Z) > largest and not label_smoothing and _is_far(Z, largest):
        rows = -log_softmax(Z)[np.arange(len(Z)), labels]
        value = _mean(np.minimum(rows, largest), sample_weight)
    return value, gradient


def _is_far(Z, largest):
    """Whether some row's loss can be that large."""
    far = float(Z.max()) - float(Z.min())  # infinite, without a warning, where it is too far
    return far > largest - math.log(Z.shape[1])


def _logistic(Z, targets, *, sample_weight=None, label_smoothing=0.0, largest=math.inf):
    """Cross-entropies summed over the outputs."""
    value, gradient = binary_cross_entropy(
        Z, targets, sample_weight=sample_weight, label_smoothing=label_smoothing
    )
    k = Z.shape[1]
    if k > 1:
        gradient *= k
    if value * Z.size > largest and not label_smoothing and np.abs(Z).max() > largest:
        rows = np.minimum(-log_sigmoid(np.where(targets > 0, Z, -Z)), largest).sum(axis=1)
        return _mean(rows, sample_weight), gradient
    return k * value, gradient


def _squared(Z, targets, *, sample_weight=None):
    """Half the squared error, averaged over the outputs; the gradient is of the sum over them."""
    value, gradient = mse(Z, targets, sample_weight=sample_weight)
    if Z.shape[1] != 2:
        gradient *= 0.5 * Z.shape[1]
    return 0.5 * value, gradient


def _poisson(Z, targets, *, sample_weight=None):
    """Half the Poisson deviance of means exp(Z), summed over the outputs."""
    value, gradient = poisson(Z, targets, sample_weight=sample_weight)
    k = Z.shape[1]
    if k > 1:
        gradient *= k
    # the deviance of a perfect fit is 0: y log(y) - y more, where the first term is 0 for y = 0
    known = targets.astype(np.float64)
    rows = known * logarithm(np.where(known > 0, known, 1.0)) - known
    return k * value + _mean(rows.sum(axis=1), sample_weight), gradient


def _mean(rows, sample_weight):
    """A mean over samples: sums that are rounded once are the same on every machine."""
    try:
        if sample_weight is None:
            return math.fsum(rows) / len(rows)
        return math.fsum(rows * sample_weight) / math.fsum(sample_weight)
    except OverflowError:
        return math.inf


def responses(Z: Array, out_activation: str) -> Array:
    """Apply the activation of the last layer: fastreg's own, of the same bits on every machine.

    Examples
    --------
    >>> responses(np.zeros((1, 2)), "softmax").tolist()
    [[0.5, 0.5]]
    """
    if out_activation == "softmax":
        return softmax(Z)
    if out_activation == "logistic":
        return sigmoid(Z)
    return exponential(Z) if out_activation == "exp" else Z


def log_responses(Z: Array, out_activation: str) -> Array:
    """Logarithms of "softmax" or "logistic" responses, finite where a probability rounds to 0.

    Examples
    --------
    >>> log_responses(np.array([[-1000.0]]), "logistic").tolist()
    [[-1000.0]]
    """
    if out_activation == "softmax":
        return log_softmax(Z)
    # as in scikit-learn, probabilities that are both rounded to 1 have the same logarithm
    return np.where(Z > 0, logarithm(sigmoid(Z)), log_sigmoid(Z))
