"""Dense layers, activations and losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.reference import functions as f
from fastreg.reference.random import box_muller

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
    "focal",
    "huber",
    "mae",
    "mse",
    "poisson",
    "quantile",
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
        draws = box_muller(np.random.default_rng(rng), n_in * n_out).reshape(n_in, n_out)
        self.W = (init_scale * math.sqrt(spread) * draws.astype(np.float64)).astype(dtype)
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
    ignore_index: int | None = None,
) -> tuple[float, Array]:
    """Weighted mean of ``-sum q log softmax(z)``, and its gradient."""
    n, k = logits.shape
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return soft_cross_entropy(logits, labels, label_smoothing, class_weights, sample_weight)
    if ignore_index is not None and (labels == ignore_index).any():
        kept = labels != ignore_index
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[kept]
        value, gradient = softmax_cross_entropy(
            logits[kept], labels[kept], label_smoothing=label_smoothing,
            class_weights=class_weights, sample_weight=sample_weight,
        )  # fmt: skip
        whole = np.zeros_like(logits)
        whole[kept] = gradient
        return value, whole
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


def soft_cross_entropy(
    logits: Array, targets: Any, smoothing: float, class_weights: Any, sample_weight: Any
) -> tuple[float, Array]:
    """The same where every row has the probabilities of all classes."""
    n, k = logits.shape
    t = targets.astype(logits.dtype).astype(np.float64)
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if class_weights is not None:
        t = t * np.asarray(class_weights, np.float64)
        by_row = t.sum(axis=1)
        t /= by_row[:, None]
        weights = weights * by_row
    shares = weights / math.fsum(weights)
    q = (1.0 - smoothing) * t + smoothing / k
    z = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    e = f.exp(z)
    whole, total = e.sum(axis=1, keepdims=True), q.sum(axis=1, keepdims=True)
    losses = total[:, 0] * f.log(whole[:, 0]) - (q * z).sum(axis=1)
    gradient = (total * (e / whole) - q) * shares[:, None]
    return float(losses @ shares), gradient.astype(logits.dtype)


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


def mae(outputs: Array, targets: Any, *, sample_weight: Any = None) -> tuple[float, Array]:
    """Weighted mean of ``|y - t|``, and its gradient."""
    d, kind = difference(outputs, targets), outputs.dtype.type
    slopes = np.where(d > 0, kind(1), np.where(d < 0, kind(-1), d))
    return mean_of(np.abs(d).astype(np.float64), slopes, sample_weight)


def huber(
    outputs: Array, targets: Any, *, delta: float = 1.0, sample_weight: Any = None
) -> tuple[float, Array]:
    """Weighted mean of ``m (|d| - m / 2)`` with ``m = min(|d|, delta)``, and its gradient."""
    d, most = difference(outputs, targets), outputs.dtype.type(delta)
    size = np.abs(d).astype(np.float64)
    m = np.where(size < np.float64(most), size, np.float64(most))
    return mean_of(m * (size - 0.5 * m), np.clip(d, -most, most), sample_weight)


def quantile(
    outputs: Array, targets: Any, *, q: float = 0.5, sample_weight: Any = None
) -> tuple[float, Array]:
    """Weighted mean of ``max(q (t - y), (q - 1) (t - y))``, and its gradient."""
    d, kind = difference(outputs, targets), outputs.dtype.type
    wide = d.astype(np.float64)
    losses = np.where(d > 0, (1.0 - q) * wide, -(q * wide))
    slopes = np.where(d > 0, kind(1.0 - q), np.where(d < 0, kind(-q), d))
    return mean_of(losses, slopes, sample_weight)


def poisson(log_means: Array, targets: Any, *, sample_weight: Any = None) -> tuple[float, Array]:
    """Weighted mean of ``e^z - t z``, and its gradient."""
    t = np.reshape(targets, log_means.shape).astype(log_means.dtype)
    means = f.exp(log_means)
    wide, times = means.astype(np.float64), t.astype(np.float64) * log_means.astype(np.float64)
    losses = np.where((t == 0) | ~np.isfinite(means), wide, wide - times)
    return mean_of(losses, means - t, sample_weight)


def focal(
    logits: Array,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    sample_weight: Any = None,
) -> tuple[float, Array]:
    """Weighted mean of ``-w (1 - p)^gamma log p``, and its gradient; in float64."""
    above = np.reshape(targets, logits.shape).astype(logits.dtype) > 0
    u = np.where(above, logits, -logits).astype(np.float64)
    size, likely = np.abs(u), u > 0
    e = f.exp(-size)
    total, rest = 1.0 + e, f.log1p(e)
    right, wrong = np.where(likely, 1.0, e) / total, np.where(likely, e, 1.0) / total
    surprise, doubt = np.where(likely, 0.0, size) + rest, np.where(likely, size, 0.0) + rest
    weight = 1.0 if alpha is None else np.where(above, alpha, 1.0 - alpha)
    factor = weight * (f.exp(-(gamma * doubt)) if gamma > 0 else 1.0)
    slope = factor * (gamma * right * np.where(surprise > 1000.0, 1000.0, surprise) + wrong)
    slope = np.where(above, -slope, slope).astype(logits.dtype)
    return mean_of(factor * surprise, slope, sample_weight)


def difference(outputs: Array, targets: Any) -> Array:
    """Outputs less targets."""
    return outputs - np.reshape(targets, outputs.shape).astype(outputs.dtype)


def mean_of(losses: Any, slopes: Array, sample_weight: Any) -> tuple[float, Array]:
    """The mean of losses in float64, and the slopes times the share of each element."""
    n, k = slopes.shape
    if sample_weight is None:
        return float(losses.mean()), slopes * slopes.dtype.type(1.0 / (n * k))
    shares = row_shares(n, None, None, sample_weight)
    parts = (1.0 / k) * shares[:, None]
    return float((losses.sum(axis=1) @ shares) / k), slopes * parts.astype(slopes.dtype)


def row_shares(n: int, class_weights: Any, labels: Any, sample_weight: Any) -> Any:
    """The share of every row in a weighted mean; the weights' sum is rounded once."""
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if class_weights is not None:
        weights = weights * np.asarray(class_weights, dtype=np.float64)[labels]
    return weights / math.fsum(weights)


for _link, _losses in {
    "softmax": (softmax_cross_entropy,),
    "sigmoid": (binary_cross_entropy, focal),
    "identity": (mse, mae, huber, quantile),
    "log": (poisson,),
}.items():
    for _loss in _losses:
        _loss.link = _link  # type: ignore[attr-defined, union-attr]
