"""Activations: functions of each element, and their slopes.

Exponentials and hyperbolic tangents are NumPy's, written into arrays from the pool. Slopes are
computed from exponentials of what is not positive, which neither overflow nor cancel: a slope of
1e-30 comes out with all its digits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import empty_like
from fastreg._core.checks import Checked, number
from fastreg._core.layer import Layer

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["GELU", "LeakyReLU", "ReLU", "Sigmoid", "Tanh"]


class ReLU(Layer):
    """Rectified linear unit: ``Y = max(X, 0)``, with slope 0 at 0.

    Raises
    ------
    TypeError, ValueError
        An input that is no float32 or float64 array; a gradient of another dtype or shape.

    References
    ----------
    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.

    Examples
    --------
    >>> layer = ReLU()
    >>> print(layer.forward(np.array([[-1.0, 2.0]])), layer.backward(np.array([[3.0, 4.0]])))
    [[0. 2.]] [[0. 4.]]
    """

    def forward(self, X: Array) -> Array:
        """Return ``max(X, 0)``, element by element; NaN stays NaN."""
        Y = np.maximum(X, 0, out=empty_like("ReLU.forward", "X", X))
        self._last = Y
        return Y

    def backward(self, dY: Array) -> Array:
        """Return ``dY`` where the input was positive and 0 elsewhere."""
        Y = self._forwarded(self._last)
        dX = empty_like("ReLU.backward", "dY", dY, Y)
        np.greater(Y, 0, out=dX)
        return np.multiply(dX, dY, out=dX)


class LeakyReLU(Layer):
    """Leaky rectified linear unit: ``Y = X`` where X is positive, ``slope X`` elsewhere.

    Parameters
    ----------
    slope : float
        Slope at and below 0, at least 0.

    Raises
    ------
    TypeError, ValueError
        A slope that is no number, or below 0; an input that is no float32 or float64 array; a
        gradient of another dtype or shape.

    References
    ----------
    Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Examples
    --------
    >>> layer = LeakyReLU(0.1)
    >>> print(layer.forward(np.array([[-1.0, 2.0]])), layer.backward(np.array([[3.0, 4.0]])))
    [[-0.1  2. ]] [[0.3 4. ]]
    """

    slope: Checked = Checked(number, low=0.0)

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, X: Array) -> Array:
        """Return X where it is positive and ``slope X`` elsewhere; NaN stays NaN."""
        Y, factor = (empty_like("LeakyReLU.forward", "X", X) for _ in range(2))
        # 1 or the slope without a choice per element, which NumPy does slowly on random signs.
        if self.slope <= 1.0:
            np.greater(X, 0, out=factor)
            np.maximum(factor, X.dtype.type(self.slope), out=factor)
        else:
            np.less_equal(X, 0, out=factor)
            factor *= X.dtype.type(self.slope)
            np.maximum(factor, 1, out=factor)
        with np.errstate(under="ignore"):
            np.multiply(X, factor, out=Y)
        self._last = factor
        return Y

    def backward(self, dY: Array) -> Array:
        """Return ``dY`` where the input was positive and ``slope dY`` elsewhere."""
        factor = self._forwarded(self._last)
        dX = empty_like("LeakyReLU.backward", "dY", dY, factor)
        with np.errstate(under="ignore"):
            return np.multiply(dY, factor, out=dX)


class Tanh(Layer):
    """Hyperbolic tangent.

    Raises
    ------
    TypeError, ValueError
        An input that is no float32 or float64 array; a gradient of another dtype or shape.

    Examples
    --------
    >>> layer = Tanh()
    >>> print(layer.forward(np.array([[0.0, 400.0]])), layer.backward(np.array([[3.0, 4.0]])))
    [[0. 1.]] [[3. 0.]]
    """

    def forward(self, X: Array) -> Array:
        """Return ``tanh(X)``."""
        Y = empty_like("Tanh.forward", "X", X)
        with np.errstate(under="ignore"):
            np.tanh(X, out=Y)
        self._last = X
        return Y

    def backward(self, dY: Array) -> Array:
        """Return ``dY (1 - tanh(X)^2)``, as ``4 e / (1 + e)^2`` with ``e = exp(-2 |X|)``."""
        X = self._forwarded(self._last)
        dX, e = (empty_like("Tanh.backward", "dY", dY, X) for _ in range(2))
        with np.errstate(under="ignore"):
            np.abs(X, out=e)
            np.minimum(e, SATURATED, out=e)
            e *= -2
            np.exp(e, out=e)
            _bell(e, out=dX)
            dX *= dY
            dX *= 4
        return dX


class Sigmoid(Layer):
    """Logistic function: ``Y = 1 / (1 + exp(-X))``, without overflow on either side.

    Raises
    ------
    TypeError, ValueError
        An input that is no float32 or float64 array; a gradient of another dtype or shape.

    Examples
    --------
    >>> layer = Sigmoid()
    >>> print(layer.forward(np.array([[0.0, -800.0]])), layer.backward(np.array([[4.0, 4.0]])))
    [[0.5 0. ]] [[1. 0.]]
    """

    def forward(self, X: Array) -> Array:
        """Return ``1 / (1 + exp(-X))``."""
        Y = sigmoid(X, out=empty_like("Sigmoid.forward", "X", X))
        self._last = X
        return Y

    def backward(self, dY: Array) -> Array:
        """Return ``dY Y (1 - Y)``, as ``e / (1 + e)^2`` with ``e = exp(-|X|)``."""
        X = self._forwarded(self._last)
        dX, e = (empty_like("Sigmoid.backward", "dY", dY, X) for _ in range(2))
        with np.errstate(under="ignore"):
            np.abs(X, out=e)
            np.exp(np.negative(e, out=e), out=e)
            _bell(e, out=dX)
            dX *= dY
        return dX


class GELU(Layer):
    r"""Gaussian error linear unit in its tanh form.

    .. math:: Y = \tfrac{1}{2} X (1 + \tanh(\sqrt{2 / \pi} (X + 0.044715 X^3)))

    computed as X times the logistic function of twice that argument, whose tail does not cancel.

    Raises
    ------
    TypeError, ValueError
        An input that is no float32 or float64 array; a gradient of another dtype or shape.

    References
    ----------
    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)", 2016.

    Examples
    --------
    >>> GELU().forward(np.array([[-10.0, 0.0, 1.0]])).round(4) + 0.0
    array([[0.    , 0.    , 0.8412]])
    """

    def forward(self, X: Array) -> Array:
        """Return the gated X."""
        Y = _in_double(_gelu, empty_like("GELU.forward", "X", X), X)
        self._last = X
        return Y

    def backward(self, dY: Array) -> Array:
        """Return dY times the slope, ``gate (1 + X (1 - gate) inner'(X))``."""
        X = self._forwarded(self._last)
        return _in_double(_gelu_slope, empty_like("GELU.backward", "dY", dY, X), X, dY)


def _in_double(function, out, *arrays):
    """Write a function of each element, computed in float64 a thousand elements at a time.

    In float32 the exponential of a rounded cubic keeps five digits far out.
    """
    flat, (first, *others) = out.reshape(-1), [array.reshape(-1) for array in arrays]
    with np.errstate(under="ignore"):
        for start in range(0, flat.size, CHUNK):
            chunk = slice(start, start + CHUNK)
            x = first[chunk].astype(np.float64)
            flat[chunk] = function(x, *(array[chunk] for array in others))
    return out


def _gate(x):
    """Return the logistic function of twice the inner cubic, the square of a clipped x, scrap."""
    np.clip(x, -SATURATED, SATURATED, out=x)
    square = x * x
    inner = square * CUBIC
    inner += 1
    inner *= x
    inner *= 2 * ROOT_2_OVER_PI
    gate = np.greater_equal(inner, 0, out=np.empty_like(inner))
    np.exp(np.negative(np.abs(inner, out=inner), out=inner), out=inner)
    np.maximum(gate, inner, out=gate)  # 1, or the exponential where it is of what is negative
    inner += 1
    gate /= inner
    return gate, square, inner


def _gelu(x):
    gate, *_ = _gate(x.copy())
    gate *= x
    return gate


def _gelu_slope(x, dy):
    gate, slope, rest = _gate(x)
    slope *= 3 * CUBIC
    slope += 1
    slope *= x
    slope *= 2 * ROOT_2_OVER_PI
    slope *= np.subtract(1, gate, out=rest)
    slope += 1
    slope *= gate
    slope *= dy
    return slope


CHUNK = 1024  # elements, so that what is computed between stays in cache
CUBIC, ROOT_2_OVER_PI = 0.044715, math.sqrt(2.0 / math.pi)
SATURATED = 1024.0  # beyond it every gate and hyperbolic tangent is 0 or 1


def sigmoid(X: Array, out: Array) -> Array:
    """Write ``1 / (1 + exp(-X))``; only exponentials of what is not positive are taken."""
    below = empty_like("sigmoid", "X", X)
    with np.errstate(under="ignore"):
        np.abs(X, out=below)
        np.exp(np.negative(below, out=below), out=below)
        np.greater_equal(X, 0, out=out)
        np.maximum(out, below, out=out)  # 1, or exp(X) where X is negative
        below += 1
        return np.divide(out, below, out=out)


def _bell(e, out):
    """Write ``e / (1 + e)^2``, which leaves ``1 + e`` in e."""
    out[...] = e
    e += 1
    out /= e
    out /= e
