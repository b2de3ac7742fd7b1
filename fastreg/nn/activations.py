"""Activations: functions of each element, and their slopes.

Those with exponentials in them run in one pass of a kernel, whose arithmetic is fixed. Slopes are
computed from exponentials of what is not positive, which neither overflow nor cancel: a slope of
1e-30 comes out with all its digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import activate, activate_backward, empty_like
from fastreg._core.checks import Checked, flag, number
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


class Elementwise(Layer):
    """A function of each element that has kernels of its own; `_function` is their name."""

    _function: str

    def _kernels(self) -> str:
        return self._function

    def forward(self, X: Array) -> Array:
        """Return the function of every element."""
        Y = activate(f"{type(self).__name__}.forward", self._kernels(), X)
        self._last = X
        return Y

    def backward(self, dY: Array) -> Array:
        """Return dY times the slope at every element."""
        X = self._forwarded(self._last)
        return activate_backward(f"{type(self).__name__}.backward", self._kernels(), dY, X)


class Tanh(Elementwise):
    """Hyperbolic tangent: ``Y = tanh(X)``, with slope ``4 e / (1 + e)^2``, ``e = exp(-2 |X|)``.

    Raises
    ------
    TypeError, ValueError
        An input that is no float32 or float64 array; a gradient of another dtype or shape.

    Examples
    --------
    >>> layer = Tanh()
    >>> print(layer.forward(np.array([[0.0, 800.0]])), layer.backward(np.array([[3.0, 4.0]])))
    [[0. 1.]] [[3. 0.]]
    """

    _function = "tanh"


class Sigmoid(Elementwise):
    """Logistic function: ``Y = 1 / (1 + exp(-X))``, without overflow on either side.

    Its slope is ``e / (1 + e)^2`` with ``e = exp(-|X|)``.

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

    _function = "sigmoid"


class GELU(Elementwise):
    r"""Gaussian error linear unit: each element times the share of a normal distribution below it.

    .. math:: Y = X \Phi(X), \qquad
              \Phi(X) \approx \tfrac{1}{2} (1 + \tanh(\sqrt{2 / \pi} (X + 0.044715 X^3)))

    The form with tanh is the default. Neither form's tail is a difference: both are good to a few
    units in the last place of the result, the form with tanh to one in float32.

    Parameters
    ----------
    exact : bool, keyword-only
        Take the normal distribution function itself, ``torch.nn.GELU``'s default.

    Raises
    ------
    TypeError, ValueError
        An ``exact`` that is not True or False; an input that is no float32 or float64 array; a
        gradient of another dtype or shape.

    References
    ----------
    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)", 2016.

    Examples
    --------
    >>> X = np.array([[-10.0, 0.0, 1.0]])
    >>> GELU().forward(X).round(4) + 0.0, GELU(exact=True).forward(X).round(4) + 0.0
    (array([[0.    , 0.    , 0.8412]]), array([[0.    , 0.    , 0.8413]]))
    """

    exact: Checked = Checked(flag)

    def __init__(self, *, exact: bool = False) -> None:
        super().__init__()
        self.exact = exact

    def _kernels(self) -> str:
        return "normal_gelu" if self.exact else "gelu"
