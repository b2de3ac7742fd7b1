"""Losses of numbers: squared, absolute, Huber's, of quantiles and of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import point_loss
from fastreg._core.functions import squares
from fastreg.nn.targets import element_arguments, linked

if TYPE_CHECKING:
    from fastreg._core.types import Array, Data

__all__ = ["huber", "mae", "mse", "poisson", "quantile"]

UNIT = 2.0**-64  # takes what has left the range back into it


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
    outputs, targets, parts = element_arguments("mse", "outputs", outputs, targets, sample_weight)
    value, gradient = point_loss("squared", outputs, targets, parts)
    if value < np.inf:
        return value, gradient
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        return _far_apart(outputs, targets, parts, gradient)


def _far_apart(outputs, targets, parts, gradient):
    """The same where differences or their squares have left the range: weighed first, in halves."""
    n, k = outputs.shape
    half = 0.5 * outputs.astype(np.float64) - 0.5 * targets.astype(np.float64)
    weight = np.full((n, 1), 1.0 / (n * k)) if parts is None else parts[:, None] / k
    gradient[...] = half * (4.0 * weight)
    return 4.0 * squares([half * np.sqrt(weight)]), gradient


@linked("identity")
def mae(outputs: Array, targets: Data, *, sample_weight: Data = None) -> tuple[float, Array]:
    r"""Mean absolute error over all elements, and its gradient.

    .. math:: L = \frac{1}{N K} \sum_{ik} |y_{ik} - t_{ik}|

    The slope is 0 where an output is its target.

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
    >>> value, doutputs = mae(np.array([[1.0], [2.0]]), np.array([1.0, 5.0]))
    >>> value, doutputs.tolist()
    (1.5, [[0.0], [-0.5]])
    """
    outputs, targets, parts = element_arguments("mae", "outputs", outputs, targets, sample_weight)
    value, gradient = point_loss("absolute", outputs, targets, parts)
    if value == np.inf:
        value = _in_units("absolute", outputs, targets, parts) / UNIT
    return value, gradient


@linked("identity")
def huber(
    outputs: Array, targets: Data, *, delta: float = 1.0, sample_weight: Data = None
) -> tuple[float, Array]:
    r"""Huber's loss, squared near the target and absolute far from it, and its gradient.

    .. math:: \ell = \begin{cases} d^2 / 2 & |d| \le \delta \\
              \delta (|d| - \delta / 2) & \text{beyond} \end{cases}, \quad
              \frac{\partial \ell}{\partial y} = \min(\max(d, -\delta), \delta)

    with d = y - t, averaged over all elements.

    Parameters
    ----------
    outputs : ndarray of shape (N, K), float32 or float64
        What the network says.
    targets : array of shape (N, K), or (N,) where K is 1
        What it should say.
    delta : float, keyword-only
        Where it turns, above 0; in the units of the targets.
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
        Outputs of another dtype, targets of another shape, a bad weight, a bad delta.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> value, doutputs = huber(np.array([[1.0], [2.0]]), np.array([0.5, 5.0]))
    >>> value, doutputs.tolist()
    (1.3125, [[0.25], [-0.5]])
    """
    delta = checks.number("huber", "delta", delta, low=0.0, open_low=True)
    outputs, targets, parts = element_arguments("huber", "outputs", outputs, targets, sample_weight)
    value, gradient = point_loss("huber", outputs, targets, parts, delta)
    if value == np.inf:
        value = _in_units("huber", outputs, targets, parts, delta * UNIT) / UNIT / UNIT
    return value, gradient


@linked("identity")
def quantile(
    outputs: Array, targets: Data, *, q: float = 0.5, sample_weight: Data = None
) -> tuple[float, Array]:
    r"""Mean quantile (pinball) loss over all elements, and its gradient.

    .. math:: \ell = \max(q (t - y), (q - 1) (t - y))

    Its mean is least where a share q of the targets lies below the outputs: with ``q=0.5`` it is
    half of `mae`, and finds medians. The slope is 0 where an output is its target.

    Parameters
    ----------
    outputs : ndarray of shape (N, K), float32 or float64
        What the network says.
    targets : array of shape (N, K), or (N,) where K is 1
        What it should say.
    q : float, keyword-only
        Which quantile, in (0, 1).
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
        Outputs of another dtype, targets of another shape, a bad weight, a bad q.

    References
    ----------
    Koenker & Bassett, "Regression quantiles", 1978.

    Examples
    --------
    >>> value, doutputs = quantile(np.array([[1.0], [2.0]]), np.array([0.0, 5.0]), q=0.75)
    >>> value, doutputs.tolist()
    (1.25, [[0.125], [-0.375]])
    """
    q = checks.number("quantile", "q", q, low=0.0, high=1.0, open_low=True, open_high=True)
    outputs, targets, parts = element_arguments(
        "quantile", "outputs", outputs, targets, sample_weight
    )
    value, gradient = point_loss("quantile", outputs, targets, parts, q)
    if value == np.inf:
        value = _in_units("quantile", outputs, targets, parts, q) / UNIT
    return value, gradient


@linked("log")
def poisson(log_means: Array, targets: Data, *, sample_weight: Data = None) -> tuple[float, Array]:
    r"""Mean negative log-likelihood of counts under Poisson distributions, and its gradient.

    .. math:: \ell = e^z - t z, \quad \frac{\partial \ell}{\partial z} = e^z - t

    averaged over all elements. The outputs are logarithms of the means, and ``predict`` returns the
    means. This is ``torch.nn.functional.poisson_nll_loss`` with its defaults; half the deviance
    that scikit-learn's ``PoissonRegressor`` minimises differs from it by ``t log t - t``, which
    depends on the targets alone: the gradient is the same.

    Parameters
    ----------
    log_means : ndarray of shape (N, K), float32 or float64
        Logarithms of the means.
    targets : array of shape (N, K), or (N,) where K is 1
        Counts or rates, at least 0.
    sample_weight : array of shape (N,), keyword-only
        Weight of each sample in the mean, at least 0, with a positive sum.

    Returns
    -------
    value : float
        The loss, averaged in float64.
    dlog_means : ndarray of shape (N, K)
        Its gradient, in the dtype of `log_means`.

    Raises
    ------
    TypeError, ValueError
        Outputs of another dtype, targets of another shape, below 0 or not finite, a bad weight.

    Examples
    --------
    >>> value, dlog_means = poisson(np.array([[0.0]]), np.array([3]))
    >>> value, dlog_means.tolist()
    (1.0, [[-2.0]])
    """
    log_means, targets, parts = element_arguments(
        "poisson", "log_means", log_means, targets, sample_weight
    )
    if not (targets.min() >= 0 and targets.max() < np.inf):
        raise ValueError(
            f"poisson: targets must be finite and at least 0, got {targets.min()} … {targets.max()}"
        )
    return point_loss("poisson", log_means, targets, parts)


def _in_units(kind, outputs, targets, parts, *arguments):
    """A loss whose sum has left the range, from numbers that are smaller; its slopes are right."""
    with np.errstate(under="ignore"):
        return point_loss(kind, outputs * UNIT, targets * UNIT, parts, *arguments)[0]
