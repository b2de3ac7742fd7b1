"""Losses of classes: cross-entropies of one of several classes, and of each there or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import (
    check_labels,
    cross_entropy,
    point_loss,
    usual_cross_entropy,
)
from fastreg._core.arrays import real
from fastreg.nn.targets import (
    check_probabilities,
    element_arguments,
    linked,
    outputs_in,
    shares,
    targets_in,
    weights,
)

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["binary_cross_entropy", "focal", "softmax_cross_entropy"]


@linked("softmax")
def softmax_cross_entropy(
    logits: Array,
    labels: Data,
    *,
    label_smoothing: float = 0.0,
    class_weights: Data = None,
    sample_weight: Data = None,
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    r"""Mean cross-entropy of softmax(logits) against classes or their shares, and its gradient.

    .. math:: \ell_i = -\sum_k q_{ik} \log p_{ik}, \quad
              \frac{\partial \ell_i}{\partial z_{ik}} = p_{ik} - q_{ik}, \quad
              q_{ik} = (1 - s) t_{ik} + s / K, \quad t_{ik} = [k = y_i]

    with :math:`p = \mathrm{softmax}(z)` row by row; in nats per sample. Each row is shifted by its
    maximum first, so that no finite logit overflows.

    Parameters
    ----------
    logits : ndarray of shape (N, K), float32 or float64
        Unnormalised log-probabilities, N and K at least 1.
    labels : integer array of shape (N,), or array of shape (N, K)
        Classes from 0 to K - 1; or soft targets t, each row the probabilities of all classes.
    label_smoothing : float, keyword-only
        The share s of the target spread evenly over all classes, in [0, 1].
    class_weights : array of shape (K,), keyword-only
        Weight of the samples of each class, at least 0. A row of soft targets weighs
        :math:`\sum_k w_k t_k`, and its targets are :math:`w_k t_k` divided by that.
    sample_weight : array of shape (N,), keyword-only
        Weight of each sample, at least 0. The mean is weighted by the product of both weights,
        whose sum must be positive.
    ignore_index : int, keyword-only
        Rows with this label take no part: they do not count in the mean, and their gradient is 0,
        whatever their logits are.

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
        Shapes that do not fit, a label outside 0 … K - 1, soft targets that are no probabilities,
        a weight that is negative or not finite, no row that has a weight.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016
    (label smoothing).

    Examples
    --------
    >>> value, dlogits = softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> round(value, 4), dlogits.tolist()
    (0.6931, [[0.5, -0.5]])
    >>> value, dlogits = softmax_cross_entropy(np.zeros((1, 2)), np.array([[0.25, 0.75]]))
    >>> round(value, 4), dlogits.tolist()
    (0.6931, [[0.25, -0.25]])
    """
    where = "softmax_cross_entropy"
    if class_weights is sample_weight is ignore_index is None and type(label_smoothing) is float:
        found = usual_cross_entropy(logits, labels, label_smoothing)
        if found is not None:
            return found
    logits = outputs_in(where, "logits", logits)
    if type(labels) is not np.ndarray:
        labels = real(where, "labels", labels)
    if ignore_index is not None:
        ignore_index = checks.integer(where, "ignore_index", ignore_index)
    soft = labels.ndim == 2 and (labels.shape == logits.shape or labels.dtype.kind == "f")
    labels = (
        _probabilities(where, labels, logits, ignore_index)
        if soft
        else check_labels(where, labels, len(logits), logits.shape[1], ignore_index)
    )
    label_smoothing = checks.number(where, "label_smoothing", label_smoothing, low=0.0, high=1.0)
    by_row = weights(where, "sample_weight", sample_weight, len(labels))
    if class_weights is not None:
        by_class = weights(where, "class_weights", class_weights, logits.shape[1])
        if soft:
            labels, by_class = _weighted(labels, by_class)
        else:
            by_class = by_class[labels]
        by_row = by_class if by_row is None else by_row * by_class
    if ignore_index is not None and labels.min() < 0:
        by_row = (labels >= 0) * (1.0 if by_row is None else by_row)
    return cross_entropy(logits, labels, shares(where, "weights", by_row), label_smoothing)


def _probabilities(where, rows, logits, ignore_index):
    """Soft targets in the shape and dtype of the logits."""
    if ignore_index is not None:
        raise ValueError(
            f"{where}: ignore_index must be None where labels are rows of probabilities, got "
            f"{ignore_index}; give such rows a sample_weight of 0"
        )
    rows = targets_in(where, rows, logits, "labels")
    check_probabilities(where, "labels", rows)
    return rows


def _weighted(rows, by_class):
    """Soft targets by the weights of their classes: as shares of each row, and what it weighs."""
    products = rows * by_class
    by_row = products.sum(axis=1)
    some = by_row > 0
    return np.where(some[:, None], products / np.where(some, by_row, 1.0)[:, None], rows).astype(
        rows.dtype
    ), by_row


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
    logits, targets, parts = element_arguments(where, "logits", logits, targets, sample_weight)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(f"{where}: targets must be from 0 to 1, got {targets.min()} … "
                         f"{targets.max()}")  # fmt: skip
    smoothing = checks.number(where, "label_smoothing", label_smoothing, low=0.0, high=1.0)
    return point_loss("binary", logits, targets, parts, 1.0 - smoothing, smoothing / 2)


@linked("sigmoid")
def focal(
    logits: Array,
    targets: Data,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    sample_weight: Data = None,
) -> tuple[float, Array]:
    r"""Mean focal loss of sigmoid(logits) against labels of 0 and 1, and its gradient.

    .. math:: \ell = -w (1 - p)^\gamma \log p, \quad
              \frac{\partial \ell}{\partial z} =
              \mp w (1 - p)^\gamma (1 - p - \gamma p \log p)

    with p the probability of the label, :math:`\sigma(z)` for 1 and :math:`\sigma(-z)` for 0, and w
    of :math:`\alpha` for 1 and :math:`1 - \alpha` for 0; averaged over all elements. Elements that
    are right already weigh little. With ``gamma=0`` and ``alpha=None`` it is
    `binary_cross_entropy`; the defaults are those of the paper and of
    ``torchvision.ops.sigmoid_focal_loss``, whose mean it is.

    Parameters
    ----------
    logits : ndarray of shape (N, K), float32 or float64
        Log-odds.
    targets : array of shape (N, K), or (N,) where K is 1
        Labels, each 0 or 1.
    gamma : float, keyword-only
        How little what is right weighs, at least 0.
    alpha : float or None, keyword-only
        The weight of label 1 beside 1 - alpha of label 0, in (0, 1); None weighs both 1.
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
        Logits of another dtype, targets of another shape or other than 0 and 1, a bad weight, a
        gamma or an alpha out of range.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> value, dlogits = focal(np.array([[0.0]]), [1], gamma=1.0, alpha=None)
    >>> round(value, 4), dlogits.round(4).tolist()
    (0.3466, [[-0.4233]])
    """
    where = "focal"
    logits, targets, parts = element_arguments(where, "logits", logits, targets, sample_weight)
    if not ((targets == 0) | (targets == 1)).all():
        wrong = targets[~((targets == 0) | (targets == 1))][0]
        raise ValueError(f"{where}: targets must be 0 or 1, got {wrong}")
    gamma = checks.number(where, "gamma", gamma, low=0.0)
    if alpha is not None:
        alpha = checks.number(
            where, "alpha", alpha, low=0.0, high=1.0, open_low=True, open_high=True
        )
    return point_loss("focal", logits, targets, parts, gamma, -1.0 if alpha is None else alpha)
