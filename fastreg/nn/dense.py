"""The affine layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import dense_backward, dense_forward, empty_like, normals
from fastreg._core.arrays import float_dtype
from fastreg._core.checks import LARGEST, Checked, flag, number, products_of, shown, size
from fastreg._core.layer import Layer
from fastreg._core.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastreg._core.types import Array, DTypeLike, MaybeArray, Products, Seed

__all__ = ["INITS", "Dense", "known_name"]

# Standard deviation of an initial weight, before init_scale.
INITS: Any = {
    "he": lambda n_in, n_out: math.sqrt(2.0 / n_in),
    "glorot": lambda n_in, n_out: math.sqrt(2.0 / (n_in + n_out)),
    "normal": lambda n_in, n_out: 1.0,
}


def known_name(where: str, name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a name that is not among those known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name} must be one of {', '.join(known)}, got {shown(value)}")


def _deviates(rng, shape):
    """Standard normal deviates in float64, from 32-bit words in arithmetic of our own.

    NumPy's take logarithms and exponentials from the system's library, whose last bits differ.
    """
    n = math.prod(shape)
    radii, angles = rng.integers(0, 2**32, (2, (n + 1) // 2), np.uint32)
    return normals(radii, angles).ravel()[:n].reshape(shape).astype(np.float64)


class Dense(Layer):
    """Affine map of each row: ``Y = X W + b``.

    Parameters
    ----------
    n_in, n_out : int
        Features in and out, at least 1.
    init : {"he", "glorot", "normal"}, keyword-only
        Initial weights are normal with mean 0 and standard deviation ``sqrt(2 / n_in)``,
        ``sqrt(2 / (n_in + n_out))`` or 1, at most 6.7 of them: deviates of 24 bits by Box and
        Muller's method, with the same bits on every machine. Biases start at 0.
    init_scale : float, keyword-only
        Factor on that standard deviation, at least 0.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of the weights; left out, NumPy's global state.
    dtype : float32 or float64, keyword-only
        Dtype of weights, inputs and gradients. Initial weights are the same in both, up to
        rounding.
    bias : bool, keyword-only
        Whether to add b; batch norm right after the layer makes it superfluous, since it has beta.
    products : {"own", "blas"} or None, keyword-only
        Whose matrix products: those of `fastreg.matmul`, with the same bits on every machine, or
        those of NumPy's BLAS, which may be faster where it has an accelerator, as on macOS. None
        leaves it to `fastreg.products`; outside of such a block they are fastreg's own.

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

    products: Checked = Checked(products_of)

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        init: str = "he",
        init_scale: float = 1.0,
        rng: Seed = None,
        dtype: DTypeLike = np.float32,
        bias: bool = True,
        products: Products | None = None,
    ) -> None:
        super().__init__()
        where = "Dense"
        self.products = products
        n_in = size(where, "n_in", n_in)
        n_out = size(where, "n_out", n_out, LARGEST // n_in)
        init_scale = number(where, "init_scale", init_scale, low=0.0)
        bias = flag(where, "bias", bias)
        known_name(where, "init", init, INITS)
        dtype = float_dtype(where, "dtype", dtype)
        std = init_scale * INITS[init](n_in, n_out)
        self.W = (std * _deviates(generator(where, rng), (n_in, n_out))).astype(dtype)
        self.b: Any = np.zeros(n_out, dtype) if bias else None
        self.dW: MaybeArray = None
        self.db: MaybeArray = None

    def forward(self, X: Array) -> Array:
        """Return ``X W + b`` for X of shape (N, n_in)."""
        with self._lock:
            Y = dense_forward(X, self.W, self.b, False, self.products)
            self._last = X
            return Y

    def backward(self, dY: Array, *, input_gradient: bool = True) -> MaybeArray:
        """Store ``dW = X' dY`` and ``db``, the column sums of dY; return ``dX = dY W'``.

        With ``input_gradient=False`` it returns None and saves the product for dX.
        """
        input_gradient = flag("Dense.backward", "input_gradient", input_gradient)
        with self._lock:
            X, db = self._forwarded(self._last), self._bias_gradient()
            dX, dW = dense_backward(X, self.W, dY, db, input_gradient, self.products)
            self.dW, self.db = dW, db
            return dX

    def _bias_gradient(self):
        """A new array for ``db``, or None."""
        return None if self.b is None else empty_like("Dense.backward", "b", self.b)
