"""The formulas in NumPy as one reads them in a textbook: a line each, with new arrays.

`fastreg.reference` is no contender: it computes the library's bits, special values and services in
NumPy, and takes several times as long as these lines.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from fastreg.bench.contenders import MissingError
from fastreg.bench.contenders.fast import passes
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import layer as layers
from fastreg.bench.problems import penalty as penalties
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "layer", "loss", "penalty", "step", "update"]

NAME = "textbook"


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {"library": f"NumPy {np.__version__}", "form": "the textbook's formulas"}


def sgd(g: Any, s: Any, t: int, lr: float) -> Any:
    return lr * g


def momentum(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + g
    return lr * s[0]


def adagrad(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = s[0] + g**2
    return lr * g / np.sqrt(s[0] + 1e-8)


def rmsprop(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + 0.1 * g**2
    return lr * g / np.sqrt(s[0] + 1e-8)


def adam(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + 0.1 * g
    s[1] = 0.999 * s[1] + 0.001 * g**2
    m, v = s[0] / (1 - 0.9**t), s[1] / (1 - 0.999**t)
    return lr * m / (np.sqrt(v) + 1e-8)


def nadam(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + 0.1 * g
    s[1] = 0.999 * s[1] + 0.001 * g**2
    now, following = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * n)) for n in (t, t + 1))
    s[2] = (s[2] if t > 1 else 1.0) * now
    m = following * s[0] / (1 - s[2] * following) + (1 - now) * g / (1 - s[2])
    return lr * m / (np.sqrt(s[1] / (1 - 0.999**t)) + 1e-8)


def adamax(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + 0.1 * g
    s[1] = np.maximum(0.999 * s[1], np.abs(g))
    return lr / (1 - 0.9**t) * s[0] / (s[1] + 1e-8)


def adadelta(g: Any, s: Any, t: int, lr: float) -> Any:
    s[0] = 0.9 * s[0] + 0.1 * g**2
    move = np.sqrt(s[1] + 1e-6) / np.sqrt(s[0] + 1e-6) * g
    s[1] = 0.9 * s[1] + 0.1 * move**2
    return lr * move


def lion(g: Any, s: Any, t: int, lr: float) -> Any:
    move = np.sign(0.9 * s[0] + 0.1 * g)
    s[0] = 0.99 * s[0] + 0.01 * g
    return lr * move


RULES: dict[str, Any] = {
    "SGD": sgd, "Momentum": momentum, "AdaGrad": adagrad, "RMSprop": rmsprop, "Adam": adam,
    "AdamW": adam, "NAdam": nadam, "Adamax": adamax, "Adadelta": adadelta, "Lion": lion,
}  # fmt: skip


def stepped(name: str, params: Any, grads: Any, state: Any, t: int, lr: float) -> None:
    """Take a step of every parameter; AdamW's makes it smaller first."""
    for key, p in params.items():
        own = state.setdefault(key, [0.0, 0.0, 0.0])
        if name == "AdamW":
            p -= lr * 0.01 * p
        p -= RULES[name](grads[key], own, t, lr)


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer."""
    if work.name not in RULES or work.form:
        raise MissingError(f"nobody has written {work.name} {work.form} as a textbook has it")
    params, grads = arrays
    state: dict[str, Any] = {}
    counts = itertools.count(1)
    return lambda: stepped(work.name, params, grads, state, next(counts), updates.RATE), (
        lambda _: list(params.values())
    )


class Map:
    """An activation: y = f(x), and dx = dy f'(x)."""

    function: Any
    slope: Any
    x: Any
    y: Any

    def __init__(self, function: Any, slope: Any) -> None:
        self.function, self.slope = function, slope

    def forward(self, x: Any) -> Any:
        self.x, self.y = x, self.function(x)
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * self.slope(self.x, self.y)


def gate(x: Any) -> Any:
    """Return GELU's inner hyperbolic tangent."""
    return np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def gelu_slope(x: Any, y: Any) -> Any:
    g = gate(x)
    inner = math.sqrt(2 / math.pi) * (1 + 0.134145 * x**2)
    return 0.5 * (1 + g) + 0.5 * x * (1 - g**2) * inner


MAPS: dict[str, tuple[Any, Any]] = {
    "ReLU": (lambda x: np.maximum(x, 0), lambda x, y: x > 0),
    "LeakyReLU": (lambda x: np.where(x > 0, x, 0.01 * x),
                  lambda x, y: np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01))),
    "Tanh": (np.tanh, lambda x, y: 1 - y**2),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x, y: y * (1 - y)),
    "GELU": (lambda x: 0.5 * x * (1 + gate(x)), gelu_slope),
}  # fmt: skip


class Dense:
    """y = x W + b."""

    W: Any
    b: Any
    x: Any
    dW: Any  # noqa: N815
    db: Any

    def __init__(self, W: Any) -> None:
        self.W, self.b = W.copy(), np.zeros(W.shape[1], W.dtype)

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy: Any) -> Any:
        self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
        return dy @ self.W.T


class Norm:
    """y = gamma (x - mean) / sqrt(var + epsilon) + beta, with statistics over some axes."""

    name: Any
    shape: Any
    axes: Any
    rest: Any
    gamma: Any
    beta: Any
    mean: Any
    var: Any
    inverse: Any
    normed: Any
    dgamma: Any
    dbeta: Any

    def __init__(self, name: str, n: int, ndim: int, dtype: str) -> None:
        self.name, self.shape = name, (1, n) + (1,) * (ndim - 2)
        over = {"BatchNorm": (0, 2, 3), "InstanceNorm": (2, 3)}.get(self.name, (1,))
        self.axes = tuple(axis for axis in over if axis < ndim)
        self.rest = tuple(axis for axis in range(ndim) if axis != 1)
        self.gamma, self.beta = (np.full(n, v, dtype) for v in (1, 0))
        self.mean, self.var = (np.full(n, v, dtype) for v in (0, 1))

    def forward(self, x: Any) -> Any:
        mean = 0 if self.name == "RMSNorm" else x.mean(axis=self.axes, keepdims=True)
        var = ((x - mean) ** 2).mean(axis=self.axes, keepdims=True)
        if self.name == "BatchNorm":
            self.mean = 0.9 * self.mean + 0.1 * mean.ravel()
            self.var = 0.9 * self.var + 0.1 * var.ravel()
        self.inverse = 1 / np.sqrt(var + 1e-5)
        self.normed = (x - mean) * self.inverse
        return self.gamma.reshape(self.shape) * self.normed + self.beta.reshape(self.shape)

    def backward(self, dy: Any) -> Any:
        self.dgamma = (dy * self.normed).sum(axis=self.rest)
        self.dbeta = dy.sum(axis=self.rest)
        g = dy * self.gamma.reshape(self.shape)
        dx = g - self.normed * (g * self.normed).mean(axis=self.axes, keepdims=True)
        if self.name != "RMSNorm":
            dx = dx - g.mean(axis=self.axes, keepdims=True)
        return self.inverse * dx


def layer(work: Any, arrays: Any, form: str) -> Any:
    """Go through a layer, and back."""
    x, dy, *weights = arrays
    made: Any
    if work.name == "Dense":
        made = Dense(weights[0])
    elif work.name in MAPS:
        made = Map(*MAPS[work.name])
    elif work.name in layers.NORMS and work.name != "GroupNorm":
        made = Norm(work.name, x.shape[1], x.ndim, work.dtype)
    else:
        raise MissingError(f"nobody has written {work.name} as a textbook has it")
    return passes(made, work, x, dy)


def dropped(rng: Any, x: Any, shape: Any, rate: float) -> Any:
    """Draw what is kept, and scale it."""
    mask = (rng.random(shape, dtype=x.dtype) >= rate) / x.dtype.type(1 - rate)
    return x * mask, mask


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Drop in training."""
    (x,) = arrays
    if work.name == "AlphaDropout":
        raise MissingError(f"nobody has written {work.name} as a textbook has it")
    rng, rate = np.random.default_rng(0), noise.RATE
    if work.name == "GaussianDropout":
        spread = math.sqrt(rate / (1 - rate))
        return lambda: x * (1 + spread * rng.standard_normal(x.shape, x.dtype)), lambda y: [y]
    shape = noise.noise_shape(work.name, x.shape)
    return lambda: dropped(rng, x, shape, rate)[0], lambda y: [y]


def softmax_cross_entropy(z: Any, y: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    value = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return value, p / len(y)


def binary_cross_entropy(z: Any, y: Any) -> Any:
    value = (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean()
    return value, (1 / (1 + np.exp(-z)) - y) / z.size


def huber(z: Any, y: Any) -> Any:
    d = z - y
    size = np.abs(d)
    return np.where(size <= 1, 0.5 * d**2, size - 0.5).mean(), np.clip(d, -1, 1) / d.size


LOSSES: dict[str, Any] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": lambda z, y: (((z - y) ** 2).mean(), 2 * (z - y) / z.size),
    "mae": lambda z, y: (np.abs(z - y).mean(), np.sign(z - y) / z.size),
    "huber": huber,
    "poisson": lambda z, y: ((np.exp(z) - y * z).mean(), (np.exp(z) - y) / z.size),
}


def loss(work: Any, arrays: Any, form: str) -> Any:
    """Compute a loss and its gradient."""
    if work.name not in LOSSES:
        raise MissingError(f"nobody has written {work.name} as a textbook has it")
    return partial(LOSSES[work.name], *arrays), list


PENALTIES: dict[str, Any] = {
    "l1_regularization_loss": lambda ws: 0.01 * sum(np.sum(np.abs(w)) for w in ws),
    "l2_regularization_loss": lambda ws: 0.005 * sum(np.sum(w**2) for w in ws),
    "l1_gradient": lambda ws: [0.01 * np.sign(w) for w in ws],
    "l2_gradient": lambda ws: [0.01 * w for w in ws],
    "soft_threshold": lambda ws: [np.sign(w) * np.maximum(np.abs(w) - 0.01, 0) for w in ws],
    "unit_norm": lambda ws: [w / np.linalg.norm(w, axis=0) for w in ws],
}


def penalty(work: Any, arrays: Any, form: str) -> Any:
    """Compute a penalty."""
    if work.name not in PENALTIES:
        raise MissingError(f"nobody has written {work.name} as a textbook has it")
    call = partial(PENALTIES[work.name], arrays)
    return call, lambda found: list(penalties.flat(found))


class Drop:
    """Dropout between layers."""

    rate: Any
    rng: Any
    mask: Any

    def __init__(self, rate: float) -> None:
        self.rate, self.rng = rate, np.random.default_rng(0)

    def forward(self, x: Any) -> Any:
        y, self.mask = dropped(self.rng, x, x.shape, self.rate)
        return y

    def backward(self, dy: Any) -> Any:
        return dy * self.mask


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take a step: a list of layers, there and back, and AdamW."""
    _, _, batch_norm, drop, rate = steps.plan(work)
    X, y, weights = arrays
    dense = [Dense(W) for W in weights]
    chain: list[Any] = []
    for one in dense[:-1]:
        n = len(one.b)
        chain += [one, *[Norm("BatchNorm", n, 2, work.dtype)] * batch_norm, Map(*MAPS["ReLU"])]
        chain += [Drop(drop)] if drop else []
    chain.append(dense[-1])
    names = [(i, name) for i, one in enumerate(chain) for name in ("W", "b", "gamma", "beta")
             if hasattr(one, name)]  # fmt: skip
    params = {(i, name): getattr(chain[i], name) for i, name in names}
    state: dict[Any, Any] = {}
    counts = itertools.count(1)

    def call():
        x = X
        for one in chain:
            x = one.forward(x)
        _, dy = softmax_cross_entropy(x, y)
        for one in reversed(chain):
            dy = one.backward(dy)
        grads = {(i, name): getattr(chain[i], "d" + name) for i, name in names}
        stepped("AdamW", params, grads, state, next(counts), rate)

    return call, lambda _: [one.W for one in dense]
