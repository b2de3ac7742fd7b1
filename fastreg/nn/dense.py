"""The affine layer."""

import math

import numpy as np

from fastreg._arrays import float_dtype
from fastreg._checks import LARGEST, flag, number, shown, size
from fastreg._kernels import bias_gate, gate_backward, matrix_product
from fastreg._layer import Layer
from fastreg._seeds import generator

__all__ = ["INITS", "Dense", "known_name"]

# Standard deviation of an initial weight, before init_scale.
INITS = {
    "he": lambda n_in, n_out: math.sqrt(2.0 / n_in),
    "glorot": lambda n_in, n_out: math.sqrt(2.0 / (n_in + n_out)),
    "normal": lambda n_in, n_out: 1.0,
}


def known_name(where, name, value, known):
    """Refuse a name that is not among those known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name} must be one of {', '.join(known)}, got {shown(value)}")


class Dense(Layer):
    """Affine map of each row: ``Y = X W + b``.

    Parameters
    ----------
    n_in, n_out : int
        Features in and out, at least 1.
    init : {"he", "glorot", "normal"}, keyword-only
        Initial weights are normal with mean 0 and standard deviation ``sqrt(2 / n_in)``,
        ``sqrt(2 / (n_in + n_out))`` or 1. Biases start at 0.
    init_scale : float, keyword-only
        Factor on that standard deviation, at least 0.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the weights; left out, NumPy's global state.
    dtype : float32 or float64, keyword-only
        Of weights, inputs and gradients. Both get the same initial weights, up to rounding.
    bias : bool, keyword-only
        Whether b is added; before batch norm it does nothing that beta does not.

    Attributes
    ----------
    W, dW : ndarray of shape (n_in, n_out)
        Weights, and their gradient after ``backward``.
    b, db : ndarray of shape (n_out,) or None
        Biases, and their gradient after ``backward``.

    Raises
    ------
    TypeError
        A size, a scale or a dtype of the wrong kind; an input of another dtype.
    ValueError
        A size, a scale or an `init` out of range; an input of another shape.

    References
    ----------
    He et al., "Delving deep into rectifiers", 2015; Glorot & Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> layer = Dense(3, 2, rng=0)
    >>> layer.forward(np.ones((4, 3), dtype=np.float32)).shape
    (4, 2)
    """

    def __init__(
        self, n_in, n_out, *, init="he", init_scale=1.0, rng=None, dtype=np.float32, bias=True
    ):
        super().__init__()
        where = "Dense"
        n_in = size(where, "n_in", n_in)
        n_out = size(where, "n_out", n_out, LARGEST // n_in)
        init_scale = number(where, "init_scale", init_scale, low=0.0)
        bias = flag(where, "bias", bias)
        known_name(where, "init", init, INITS)
        dtype = float_dtype(where, "dtype", dtype)
        std = init_scale * INITS[init](n_in, n_out)
        self.W = (std * generator(where, rng).standard_normal((n_in, n_out))).astype(dtype)
        self.b = np.zeros(n_out, dtype) if bias else None
        self.dW = self.db = None
        self._X = None

    def forward(self, X):
        """Return ``X W + b`` for X of shape (N, n_in)."""
        Y = self._product(X)
        return Y if self.b is None else bias_gate(Y, self.b, False, None)

    def backward(self, dY, *, input_gradient=True):
        """Store ``dW = X' dY`` and ``db``, the column sums of dY; return ``dX = dY W'``.

        The arrays of ``dW`` and ``db`` are used again by the next call. With
        ``input_gradient=False``, nothing is returned and the second product is saved.
        """
        self._forwarded(self._X)
        return self._products(
            gate_backward("Dense.backward", dY, None, 1.0, self._bias_gradient()), input_gradient
        )

    def _product(self, X):
        """Check X, keep it for backward, and return ``X W``."""
        W = self.W
        if not isinstance(X, np.ndarray):
            raise TypeError(f"Dense.forward: X must be an array, got {type(X).__name__}")
        if X.ndim != 2 or X.shape[1] != len(W):
            raise ValueError(f"Dense.forward: X must have shape (N, {len(W)}), got {X.shape}")
        if X.dtype != W.dtype:
            raise TypeError(
                f"Dense.forward: X must be {W.dtype}, got {X.dtype}; convert it, or "
                "give the layer that dtype"
            )
        self._X = X
        return matrix_product(X, W)

    def _bias_gradient(self):
        """The array for ``db``, or None."""
        if self.b is not None and (self.db is None or self.db.shape != self.b.shape):
            self.db = np.empty_like(self.b)
        return self.db

    def _products(self, dY, input_gradient):
        """Store ``dW``; return ``dY W'`` if it is wanted."""
        X, W = self._X, self.W
        if dY.shape != (len(X), W.shape[1]) or dY.dtype != W.dtype:
            raise ValueError(
                f"Dense.backward: dY must be {W.dtype} of shape {(len(X), W.shape[1])}, got "
                f"{dY.dtype} of shape {dY.shape}"
            )
        if self.dW is None or self.dW.shape != W.shape:
            self.dW = np.empty(W.shape, W.dtype)
        np.dot(X.T, dY, self.dW)
        return matrix_product(dY, W.T) if input_gradient else None
