"""Dense layers, activations and losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.reference import functions as f

if TYPE_CHECKING:
    from fastreg._core.types import Array, DTypeLike, Products, Seed

__all__ = [
    "GELU",
    "Dense",
    "LeakyReLU",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "binary_cross_entropy",
    "mse",
    "softmax_cross_entropy",
]


class Layer:
    """A mode that changes nothing here."""

    training: bool = True

    def train(self) -> None:
        """Enter training mode."""
        self.training = True

    def eval(self) -> None:
        """Enter inference mode."""
        self.training = False


class Dense(Layer):
    """Affine map of each row: ``Y = X W + b``."""

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
        self.products = products  # of the fast layer; here they are NumPy's, whatever it says
        if rng is None:
            rng = np.random.randint(0, 2**32, size=4, dtype=np.uint64)
        spread = {"he": 2.0 / n_in, "glorot": 2.0 / (n_in + n_out), "normal": 1.0}[init]
        draws = np.random.default_rng(rng).standard_normal((n_in, n_out))
        self.W = (init_scale * math.sqrt(spread) * draws).astype(dtype)
        self.b: Any = np.zeros(n_out, dtype) if bias else None

    def forward(self, X: Array) -> Array:
        """``X W + b``."""
        self._X = X
        return X @ self.W if self.b is None else X @ self.W + self.b

    def backward(self, dY: Array) -> Array:
        """``dY W'``; the gradients of W and b are stored."""
        self.dW: Any = self._X.T @ dY
        self.db: Any = None if self.b is None else dY.sum(axis=0)
        return dY @ self.W.T


class ReLU(Layer):
    """``max(X, 0)``."""

    def forward(self, X: Array) -> Array:
        """Return the positive part."""
        self._Y = np.maximum(X, 0)
        return self._Y

    def backward(self, dY: Array) -> Array:
        """The gradient where X was positive."""
        return dY * (self._Y > 0)


class LeakyReLU(Layer):
    """``X`` where it is positive, ``slope X`` elsewhere."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, X: Array) -> Array:
        """Return X with its negative part scaled."""
        self._slopes = np.where(X > 0, X.dtype.type(1), X.dtype.type(self.slope))
        return X * self._slopes

    def backward(self, dY: Array) -> Array:
        """The gradient times the slopes."""
        return dY * self._slopes


class Tanh(Layer):
    """``tanh(X)``."""

    def forward(self, X: Array) -> Array:
        """Return the hyperbolic tangent."""
        self._X = X
        return f.tanh(X)

    def backward(self, dY: Array) -> Array:
        """``dY (1 - tanh(X)^2)`` as ``4 e / (1 + e)^2`` with ``e = exp(-2 |X|)``."""
        with np.errstate(all="ignore"):
            first, last = f.exp_parts(-2 * np.abs(self._X))
            total = 1 + first * last
            return first / (total * total) * dY * (4 * last)


class Sigmoid(Layer):
    """``1 / (1 + exp(-X))``, from ``e = exp(-|X|)``, which cannot overflow."""

    def forward(self, X: Array) -> Array:
        """Return the logistic function."""
        self._X = X
        return sigmoid(X)

    def backward(self, dY: Array) -> Array:
        """``dY Y (1 - Y)`` as ``e / (1 + e)^2``."""
        with np.errstate(all="ignore"):
            first, last = f.exp_parts(-np.abs(self._X))
            total = 1 + first * last
            return first / (total * total) * dY * last


class GELU(Layer):
    """``X / 2 (1 + tanh(sqrt(2 / pi) (X + 0.044715 X^3)))`` (Hendrycks & Gimpel, 2016).

    That is X times the logistic function of twice the argument; if ``exact``, X times the normal
    distribution function.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact

    def forward(self, X: Array) -> Array:
        """Return the gated X."""
        self._X = X
        if not self.exact:
            return f.gelu(X)
        with np.errstate(all="ignore"):
            a = np.minimum(np.abs(X), 1024)
            first, last = f.exp_square(a)
            tail = 0.5 * f.mills(a) * first
            return np.where(X >= 0, X * (1 - tail * last), -a * tail * last)

    def backward(self, dY: Array) -> Array:
        """The gradient times the slope."""
        X = self._X
        if not self.exact:
            return f.gelu_slope(dY, X)
        a, above, one = np.minimum(np.abs(X), 1024), X >= 0, X.dtype.type(1)
        with np.errstate(all="ignore"):
            first, last = f.exp_square(a)
            tail = (0.5 * f.mills(a) - a * 0.3989422804014327) * first
            return np.where(above, 1 - tail * last, tail) * dY * np.where(above, one, last)


def sigmoid(X: Array) -> Array:
    """``1 / (1 + exp(-X))``."""
    with np.errstate(all="ignore"):
        e = f.exp(-np.abs(X))
        share = np.where(X >= 0, X.dtype.type(1), e) / (1 + e)
        return np.where(X >= 0, share, e - e * share)


def softmax_cross_entropy(
    logits: Array,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """Weighted mean of ``-sum q log softmax(z)``, and its gradient."""
    n, k = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = f.exp(shifted)
    rows, peaks = np.arange(n), logits.argmax(axis=1)
    p[rows, peaks] = 0.0
    rest = p.sum(axis=1)  # beside the largest, which is 1
    p[rows, peaks] = 1.0
    p /= 1.0 + rest[:, None]
    q = np.full_like(logits, label_smoothing / k)
    q[rows, labels] += 1.0 - label_smoothing
    shares = row_shares(n, class_weights, labels, sample_weight)
    losses = f.log1p(rest) - (q * shifted).sum(axis=1)
    difference = p - q
    at_peak = q[rows, peaks]
    difference[rows, peaks] = ((1.0 - at_peak) - at_peak * rest) / (1.0 + rest)
    return float(losses @ shares), difference * shares[:, None].astype(logits.dtype)


def mse(outputs: Array, targets: Any, *, sample_weight: Any = None) -> tuple[float, Array]:
    """Weighted mean of squared differences, and its gradient."""
    n, k = outputs.shape
    difference = outputs - np.reshape(targets, outputs.shape).astype(outputs.dtype)
    shares = row_shares(n, None, None, sample_weight) / k
    gradient = 2 * difference * shares[:, None].astype(outputs.dtype)
    return float((difference**2).sum(axis=1) @ shares), gradient


def binary_cross_entropy(
    logits: Array, targets: Any, *, label_smoothing: float = 0.0, sample_weight: Any = None
) -> tuple[float, Array]:
    """Weighted mean of ``-(t log p + (1 - t) log(1 - p))`` for p = sigmoid(z), and its gradient."""
    n, k = logits.shape
    t = np.reshape(targets, logits.shape).astype(logits.dtype)
    t = (1 - label_smoothing) * t + logits.dtype.type(label_smoothing / 2)
    e, above = f.exp(-np.abs(logits)), logits >= 0
    away, near = np.where(above, 1 - t, t), np.where(above, t, 1 - t)
    losses = np.abs(logits) * away + f.log1p(e)
    shares = row_shares(n, None, None, sample_weight) / k
    gradient = np.where(above, 1, -1).astype(logits.dtype) * ((away - near * e) / (1 + e))
    return float(losses.sum(axis=1) @ shares), gradient * shares[:, None].astype(logits.dtype)


def row_shares(n: int, class_weights: Any, labels: Any, sample_weight: Any) -> Any:
    """The share of every row in a weighted mean."""
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if class_weights is not None:
        weights = weights * np.asarray(class_weights, dtype=np.float64)[labels]
    return weights / weights.sum()


softmax_cross_entropy.link = "softmax"  # type: ignore[attr-defined]
mse.link = "identity"  # type: ignore[attr-defined]
binary_cross_entropy.link = "sigmoid"  # type: ignore[attr-defined]
