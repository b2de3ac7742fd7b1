"""L1, L2 and elastic-net penalties: value, gradient and proximal operator.

Weights are a float32 or float64 array of any memory layout, or a dict, list or tuple of such
arrays. Integers, truth values and plain numbers count as float64; ``params.values()`` and
generators count as lists. Gradients come back in the structure of the weights. Values are Python
floats, summed in float64 in a fixed order, the same for every number of threads: within 1 ulp of
float32 for float32 weights, within a few ulp for float64. The value of no weights is 0.

Gradients and proximal operators round strengths to the weights' dtype: in float32 one below 1e-45
counts as 0, one above 3.4e38 as infinite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastreg._core.checks import number
from fastreg.penalty.weights import listed, overwrites, sweep, times_total

if TYPE_CHECKING:
    from fastreg._core.types import Structure, Weights

__all__ = [
    "ElasticNet",
    "l1_gradient",
    "l1_regularization_loss",
    "l2_gradient",
    "l2_regularization_loss",
    "penalty_and_gradient",
    "soft_threshold",
]


def l1_regularization_loss(weights: Weights, lambda_l1: float = 0.01) -> float:
    r"""Lasso penalty, :math:`\lambda \sum_i |w_i|` (Tibshirani, 1996).

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    lambda_l1 : float, default 0.01
        Strength, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or dtype, or the strength out of range.

    Examples
    --------
    >>> l1_regularization_loss([np.array([1.0, -2.0]), np.array([[0.0, 3.0]])], lambda_l1=0.5)
    3.0
    """
    where = "l1_regularization_loss"
    lambda_l1 = _strength(where, "lambda_l1", lambda_l1)
    return _value(where, weights, lambda_l1, "abs")


def l1_gradient(
    W: Structure, lambda_l1: float = 0.01, *, out: Structure | None = None
) -> Structure:
    r"""Subgradient of the lasso penalty, :math:`\lambda \operatorname{sign}(w)`, 0 at 0.

    Parameters
    ----------
    W : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    lambda_l1 : float, default 0.01
        Strength, at least 0.
    out : as W, optional
        C-contiguous arrays for the result; may be W.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind, dtype, shape or layout, or the strength out of range.
        Nothing has been written then.

    Examples
    --------
    >>> l1_gradient(np.array([1.5, 0.0, -2.0]), lambda_l1=0.5)
    array([ 0.5,  0. , -0.5])
    """
    where = "l1_gradient"
    lambda_l1 = _strength(where, "lambda_l1", lambda_l1)
    return sweep(where, "W", W, (), "l1" if lambda_l1 else "zero", out, lambda_l1)[1]


def l2_regularization_loss(weights: Weights, lambda_l2: float = 0.01) -> float:
    r"""Ridge penalty, :math:`\frac{\lambda}{2} \sum_i w_i^2` (Hoerl & Kennard, 1970).

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    lambda_l2 : float, default 0.01
        Strength, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or dtype, or the strength out of range.

    Examples
    --------
    >>> l2_regularization_loss({"W": np.array([[1.0, -2.0]]), "b": np.array([2.0])}, lambda_l2=0.5)
    2.25
    """
    where = "l2_regularization_loss"
    lambda_l2 = _strength(where, "lambda_l2", lambda_l2)
    return _value(where, weights, lambda_l2, "squares")


def l2_gradient(
    W: Structure, lambda_l2: float = 0.01, *, out: Structure | None = None
) -> Structure:
    r"""Gradient of the ridge penalty, :math:`\lambda w`.

    Parameters
    ----------
    W : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    lambda_l2 : float, default 0.01
        Strength, at least 0.
    out : as W, optional
        C-contiguous arrays for the result; may be W.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind, dtype, shape or layout, or the strength out of range.
        Nothing has been written then.

    Examples
    --------
    >>> l2_gradient(np.array([1.0, -2.0]), lambda_l2=0.5)
    array([ 0.5, -1. ])
    """
    where = "l2_gradient"
    lambda_l2 = _strength(where, "lambda_l2", lambda_l2)
    return sweep(where, "W", W, (), "l2" if lambda_l2 else "zero", out, 0.0, lambda_l2)[1]


def penalty_and_gradient(
    weights: Structure,
    *,
    lambda_l1: float = 0.0,
    lambda_l2: float = 0.0,
    out: Structure | None = None,
) -> tuple[float, Structure]:
    r"""Value and gradient of an L1, L2 or elastic-net penalty, in one read of the weights.

    This is the sum of both penalties. If one strength is 0, the results have the bits of the
    functions for the other penalty.

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    lambda_l1, lambda_l2 : float, default 0.0
        Strengths, at least 0; a strength of 0 leaves its penalty out.
    out : as weights, optional
        C-contiguous arrays for the gradient; may be the weights.

    Returns
    -------
    value : float
    gradient : as weights

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind, dtype, shape or layout, or a strength out of range.
        Nothing has been written then.

    Examples
    --------
    >>> value, gradient = penalty_and_gradient(np.array([1.0, -2.0]), lambda_l1=1.0, lambda_l2=0.5)
    >>> value, gradient
    (4.25, array([ 1.5, -2. ]))
    """
    where = "penalty_and_gradient"
    l1 = _strength(where, "lambda_l1", lambda_l1)
    l2 = _strength(where, "lambda_l2", lambda_l2)
    return _penalty(where, "weights", weights, l1, l2, gradient=True, out=out)


def soft_threshold(W: Structure, threshold: float, *, out: Structure | None = None) -> Structure:
    r"""Proximal operator of the lasso: every element moves towards 0 and stops at 0.

    .. math:: \operatorname{sign}(w) \max(|w| - t, 0)

    After a gradient step of size ``lr`` on the loss alone, a threshold of ``lr * lambda_l1`` makes
    it a step of proximal gradient descent (ISTA), which gives weights that are exactly 0.

    Parameters
    ----------
    W : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    threshold : float
        What is subtracted from each magnitude, at least 0.
    out : as W, optional
        C-contiguous arrays for the result; may be W.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind, dtype, shape or layout, or the threshold out of range.
        Nothing has been written then.

    References
    ----------
    Daubechies, Defrise & De Mol, Communications on Pure and Applied Mathematics 57, 2004.

    Examples
    --------
    >>> soft_threshold(np.array([3.0, -0.25, -2.0]), 0.5)
    array([ 2.5,  0. , -1.5])
    """
    where = "soft_threshold"
    threshold = number(where, "threshold", threshold, low=0.0)
    return sweep(where, "W", W, (), "soft", out, threshold)[1]


class ElasticNet:
    r"""Both penalties at once (Zou & Hastie, 2005).

    .. math:: \lambda_1 \sum_i |w_i| + \frac{\lambda_2}{2} \sum_i w_i^2

    Parameters
    ----------
    lambda_l1, lambda_l2 : float, default 0.01
        Strengths, at least 0; a strength of 0 leaves its penalty out.

    Raises
    ------
    TypeError, ValueError
        If a strength is not a number of at least 0; methods also if an array is of the wrong
        kind, dtype, shape or layout. Nothing has been written then.

    Examples
    --------
    >>> net, W = ElasticNet(lambda_l1=1.0, lambda_l2=0.5), np.array([1.0, -2.0])
    >>> net.value(W), net.gradient(W), net.prox(W)
    (4.25, array([ 1.5, -2. ]), array([ 0.        , -0.66666667]))
    """

    def __init__(self, lambda_l1: float = 0.01, lambda_l2: float = 0.01) -> None:
        self.lambda_l1, self.lambda_l2 = lambda_l1, lambda_l2

    @property
    def lambda_l1(self) -> float:
        """Strength of the L1 part."""
        return self._lambda_l1

    @lambda_l1.setter
    def lambda_l1(self, value: float) -> None:
        self._lambda_l1 = _strength("ElasticNet", "lambda_l1", value)

    @property
    def lambda_l2(self) -> float:
        """Strength of the L2 part."""
        return self._lambda_l2

    @lambda_l2.setter
    def lambda_l2(self, value: float) -> None:
        self._lambda_l2 = _strength("ElasticNet", "lambda_l2", value)

    def value(self, weights: Weights) -> float:
        """Return the penalty."""
        where = "ElasticNet.value"
        return _penalty(where, "weights", weights, self.lambda_l1, self.lambda_l2)[0]

    def gradient(self, W: Structure, *, out: Structure | None = None) -> Structure:
        """Return the gradient in the structure of W, with sign(0) = 0."""
        kind = _kind(self.lambda_l1, self.lambda_l2)[1]
        strengths = self.lambda_l1, self.lambda_l2
        return sweep("ElasticNet.gradient", "W", W, (), kind, out, *strengths)[1]

    def value_and_gradient(
        self, weights: Structure, *, out: Structure | None = None
    ) -> tuple[float, Structure]:
        """Return value and gradient from one read of the weights."""
        where = "ElasticNet.value_and_gradient"
        strengths = self.lambda_l1, self.lambda_l2
        return _penalty(where, "weights", weights, *strengths, gradient=True, out=out)

    def prox(
        self, W: Structure, step_size: float = 1.0, *, out: Structure | None = None
    ) -> Structure:
        r"""Return ``soft_threshold(W, step_size * lambda_l1) / (1 + step_size * lambda_l2)``.

        This v minimises the penalty plus :math:`\|v - w\|^2 / (2 \cdot step\_size)`.
        """
        where = "ElasticNet.prox"
        step = number(where, "step_size", step_size, low=0.0)
        numbers = step * self.lambda_l1, 1.0 + step * self.lambda_l2
        return sweep(where, "W", W, (), "prox", out, *numbers)[1]


def _strength(where, name, value):
    return number(where, name, value, low=0.0)


def _value(where, weights, strength, kind):
    """Return ``strength`` times the sum of one kind, 0 for a strength of 0."""
    weights = listed(weights)
    totals, _ = sweep(where, "weights", weights, (kind,) if strength else ())
    return times_total(where, weights, strength, totals[0], kind) if totals else 0.0


def _kind(l1, l2):
    """Return which sums a penalty needs, and the name of its gradient."""
    if l1 and l2:
        return ("abs", "squares"), "elastic"
    return (("abs",), "l1") if l1 else (("squares",), "l2") if l2 else ((), "zero")


def _penalty(where, name, weights, l1, l2, *, gradient=False, out=None):
    """Return value and gradient (None unless asked for)."""
    sums, kind = _kind(l1, l2)
    weights = listed(weights)
    if gradient and overwrites(where, weights, out):
        value, _ = _penalty(where, name, weights, l1, l2)  # may read the weights twice
        return value, sweep(where, name, weights, (), kind, out, l1, l2)[1]
    kind = kind if gradient else None
    totals, result = sweep(where, name, weights, sums, kind, out, l1, l2)
    value = 0.0  # with strengths of 0 nothing is left, even of infinite weights
    for total, kind in zip(totals, sums, strict=True):
        strength = l1 if kind == "abs" else l2
        value += times_total(where, weights, strength, total, kind)
    return value, result
