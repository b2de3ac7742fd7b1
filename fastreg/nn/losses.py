"""Losses: the value and the gradient with respect to the network's outputs, in one call.

The attribute ``link`` of a loss says what the outputs are: "softmax", "sigmoid" or "identity". Your
own loss may have one, too (``loss.link = "softmax"``), and then gets accuracies and classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import check_labels, cross_entropy, empty_like, point_loss
from fastreg._core.arrays import real
from fastreg.nn.targets import linked, shares, weights

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["binary_cross_entropy", "mse", "softmax_cross_entropy"]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # found by identity, native order alone


@linked("softmax")
def softmax_cross_entropy(
    logits: Array,
    labels: Data,
    *,
    label_smoothing: float = 0.0,
    class_weights: Data = None,
    sample_weight: Data = None,
) -> tuple[float, Array]:
    r"""Mean cross-entropy of softmax(logits) against class labels, and its gradient.

    .. math:: \ell_i = -\sum_k q_{ik} \log p_{ik}, \quad
              \frac{\partial \ell_i}{\partial z_{ik}} = p_{ik} - q_{ik}, \quad
              q_{ik} = (1 - s) [k = y_i] + s / K

    with :math:`p = \mathrm{softmax}(z)` row by row; in nats per sample. Each row is shifted by its
    maximum first, so that no finite logit overflows.

    Parameters
    ----------
    logits : ndarray of shape (N, K), float32 or float64
        Unnormalised log-probabilities, N and K at least 1.
    labels : integer array of shape (N,)
        Classes from 0 to K - 1.
    label_smoothing : float, keyword-only
        The share s of the target spread evenly over all classes, in [0, 1].
    class_weights : array of shape (K,), keyword-only
        Weight of the samples of each class, at least 0.
    sample_weight : array of shape (N,), keyword-only
        Weight of each sample, at least 0. The mean is weighted by the product of both weights,
        whose sum must be positive.

    Returns
    -------
    value : float
        The loss, averaged in float64.
    dlogits : ndarray of shape (N, K)
        Its gradient, in the dtype of `logits`.

    Raises
    ------
    TypeError
        Logits that are not float32 or float64, labels that are not integers.
    ValueError
        Shapes that do not fit, a label outside 0 … K - 1, a weight that is negative or not
        finite.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016
    (label smoothing).

    Examples
    --------
    >>> value, dlogits = softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(value, 4), dlogits.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    where = "softmax_cross_entropy"
    logits = _outputs(where, "logits", logits)
    if type(labels) is not np.ndarray:
        labels = real(where, "labels", labels)
    labels = check_labels(where, labels, *logits.shape)
    if type(label_smoothing) is not float or label_smoothing != 0.0:  # the usual case
        label_smoothing = checks.number(
            where, "label_smoothing", label_smoothing, low=0.0, high=1.0
        )
    by_row = weights(where, "sample_weight", sample_weight, len(labels))
    if class_weights is not None:
        by_class = weights(where, "class_weights", class_weights, logits.shape[1])[labels]
        by_row = by_class if by_row is None else by_row * by_class
    return cross_entropy(logits, labels, shares(where, "weights", by_row), label_smoothing)


@linked("identity")
def mse(outputs: Array, targets: Data, *, sample_weight: Data = None) -> tuple[float, Array]:
    r"""Mean squared error over all elements, and its gradient.

    .. math:: L = \frac{1}{N K} \sum_{ik} (y_{ik} - t_{ik})^2

    Parameters
    ----------
    outputs : ndarray of shape (N, K), float32 or float64
        What the network says.
    targets : array of shape (N, K), or (N,) where K is 1
        What it should say.
    sample_weight : array of shape (N,), keyword-only
        Weight of each sample in the mean, at least 0, with a positive sum.

    Returns
    -------
    value : float
        The loss, averaged in float64.
    doutputs : ndarray of shape (N, K)
        Its gradient, in the dtype of `outputs`.

    Raises
    ------
    TypeError, ValueError
        Outputs of another dtype, targets of another shape, a bad weight.

    Examples
    --------
    >>> value, doutputs = mse(np.array([[1.0], [2.0]]), np.array([1.0, 5.0]))
    >>> value, doutputs.tolist()
    (4.5, [[0.0], [-3.0]])
    """
    outputs = _outputs("mse", "outputs", outputs)
    targets = _targets("mse", targets, outputs)
    parts = shares("mse", "weights", weights("mse", "sample_weight", sample_weight, len(outputs)))
    value, gradient = point_loss("squared", outputs, targets, parts)
    if value < np.inf:
        return value, gradient
    with np.errstate(under="ignore", over="ignore"):
        return _far_apart(outputs, targets, parts, gradient)


def _far_apart(outputs, targets, parts, gradient):
    """The same where differences or their squares have left the range: weighed first, in halves."""
    n, k = outputs.shape
    half = 0.5 * outputs.astype(np.float64) - 0.5 * targets.astype(np.float64)
    weight = np.full((n, 1), 1.0 / (n * k)) if parts is None else parts[:, None] / k
    gradient[...] = half * (4.0 * weight)
    return float(4.0 * np.square(half * np.sqrt(weight)).sum()), gradient


@linked("sigmoid")
def binary_cross_entropy(
    logits: Array,
    targets: Data,
    *,
    label_smoothing: float = 0.0,
    sample_weight: Data = None,
) -> tuple[float, Array]:
    r"""Mean cross-entropy of sigmoid(logits) against targets in [0, 1], and its gradient.

    .. math:: \ell = \max(z, 0) - z t + \log(1 + e^{-|z|}), \quad
              \frac{\partial \ell}{\partial z} = \sigma(z) - t

    averaged over all elements, in nats. No finite logit overflows.

    Parameters
    ----------
    logits : ndarray of shape (N, K), float32 or float64
        Log-odds.
    targets : array of shape (N, K), or (N,) where K is 1
        Probabilities or labels, from 0 to 1.
    label_smoothing : float, keyword-only
        The share s of the target replaced by 1/2, in [0, 1].
    sample_weight : array of shape (N,), keyword-only
        Weight of each sample in the mean, at least 0, with a positive sum.

    Returns
    -------
    value : float
        The loss, averaged in float64.
    dlogits : ndarray of shape (N, K)
        Its gradient, in the dtype of `logits`.

    Raises
    ------
    TypeError, ValueError
        Logits of another dtype, targets of another shape or outside [0, 1], a bad weight.

    Examples
    --------
    >>> value, dlogits = binary_cross_entropy(np.array([[0.0]]), np.array([1]))
    >>> round(value, 4), dlogits.tolist()
    (0.6931, [[-0.5]])
    """
    where = "binary_cross_entropy"
    logits = _outputs(where, "logits", logits)
    targets = _targets(where, targets, logits)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(f"{where}: targets must be from 0 to 1, got {targets.min()} … "
                         f"{targets.max()}")  # fmt: skip
    smoothing = checks.number(where, "label_smoothing", label_smoothing, low=0.0, high=1.0)
    by_row = weights(where, "sample_weight", sample_weight, len(logits))
    return point_loss("binary", logits, targets, shares(where, "weights", by_row), smoothing)


def _outputs(where, name, outputs):
    """A contiguous float matrix."""
    outputs = real(where, name, outputs)
    if outputs.dtype not in FLOATS:
        raise TypeError(f"{where}: {name} must be float32 or float64, got {outputs.dtype}")
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise ValueError(f"{where}: {name} must have shape (N, K), not empty, got {outputs.shape}")
    return np.ascontiguousarray(outputs)


def _targets(where, targets, outputs):
    """Targets in the shape and dtype of the outputs."""
    targets = real(where, "targets", targets, what="numbers")
    if targets.shape == outputs.shape[:1] and outputs.shape[1] == 1:
        targets = targets[:, None]
    if targets.shape != outputs.shape:
        raise ValueError(f"{where}: targets must have shape {outputs.shape}, got {targets.shape}")
    if targets.dtype == outputs.dtype:
        return np.ascontiguousarray(targets)
    converted = empty_like(where, "outputs", outputs)
    np.copyto(converted, targets, casting="unsafe")
    return converted
