"""NumPy as fast as NumPy allows: in place, without temporaries, in blocks that stay in cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastreg.bench.contenders import MissingError
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "product", "update"]

NAME = "NumPy"
BLOCK = 16_384  # elements: parameter, gradient, state and scratch of a block fit into the L2 cache
RATE, BETA1, BETA2, EPSILON = updates.RATE, 0.9, 0.999, 1e-8


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    found = {"library": f"NumPy {np.__version__}", "form": "in place, by blocks"}
    return found | {"threads": os.environ.get("OPENBLAS_NUM_THREADS", "1") + " of its BLAS"}


def averaged(mean: Any, g: Any, beta: float, scratch: Any) -> None:
    """Move a running mean towards g."""
    mean *= beta
    np.multiply(g, 1 - beta, out=scratch)
    mean += scratch


def squares(v: Any, g: Any, beta: float, scratch: Any) -> None:
    """Move a running mean towards the square of g."""
    v *= beta
    np.multiply(g, g, out=scratch)
    scratch *= 1 - beta
    v += scratch


def divided(p: Any, m: Any, v: Any, rate: float, epsilon: float, scratch: Any) -> None:
    """Subtract rate * m / (sqrt(v) + epsilon)."""
    np.sqrt(v, out=scratch)
    scratch += epsilon
    np.divide(m, scratch, out=scratch)
    scratch *= rate
    p -= scratch


def rooted(p: Any, g: Any, v: Any, scratch: Any) -> None:
    """Subtract RATE * g / sqrt(v + EPSILON)."""
    np.add(v, EPSILON, out=scratch)
    np.sqrt(scratch, out=scratch)
    np.divide(g, scratch, out=scratch)
    scratch *= RATE
    p -= scratch


def sgd(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    np.multiply(g, RATE, out=scratch)
    p -= scratch


def momentum(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    (v,) = state
    v *= BETA1
    v += g
    np.multiply(v, RATE, out=scratch)
    p -= scratch


def adagrad(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    (v,) = state
    np.multiply(g, g, out=scratch)
    v += scratch
    rooted(p, g, v, scratch)


def rmsprop(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    (v,) = state
    squares(v, g, 0.9, scratch)
    rooted(p, g, v, scratch)


def adam(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    m, v = state
    averaged(m, g, BETA1, scratch)
    squares(v, g, BETA2, scratch)
    root = (1 - BETA2**t) ** 0.5
    divided(p, m, v, RATE * root / (1 - BETA1**t), EPSILON * root, scratch)


def adamw(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    p *= 1 - RATE * 0.01
    adam(p, g, state, t, scratch)


def adamax(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    m, u = state
    averaged(m, g, BETA1, scratch)
    u *= BETA2
    np.abs(g, out=scratch)
    np.maximum(u, scratch, out=u)
    np.add(u, EPSILON, out=scratch)
    np.divide(m, scratch, out=scratch)
    scratch *= RATE / (1 - BETA1**t)
    p -= scratch


def lion(p: Any, g: Any, state: Any, t: int, scratch: Any) -> None:
    (m,) = state
    np.subtract(m, g, out=scratch)
    scratch *= BETA1
    scratch += g
    np.sign(scratch, out=scratch)
    scratch *= RATE
    p -= scratch
    averaged(m, g, 0.99, scratch)


RULES: dict[str, tuple[Callable[..., None], int]] = {
    "SGD": (sgd, 0), "Momentum": (momentum, 1), "AdaGrad": (adagrad, 1), "RMSprop": (rmsprop, 1),
    "Adam": (adam, 2), "AdamW": (adamw, 2), "Adamax": (adamax, 2), "Lion": (lion, 1),
}  # fmt: skip


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step block by block."""
    if work.name not in RULES or work.form:
        raise MissingError(f"nobody has written {work.name} {work.form} in place")
    rule, slots = RULES[work.name]
    params, grads = arrays
    parts = []
    for name, p in params.items():
        state = [np.zeros_like(p) for _ in range(slots)]
        for start in range(0, p.size, BLOCK):
            block = slice(start, start + BLOCK)
            parts.append((p[block], grads[name][block], [s[block] for s in state]))
    scratch = np.empty(max(p.size for p, _, _ in parts), work.dtype)
    steps = [0]

    def call():
        steps[0] += 1
        for p, g, state in parts:
            rule(p, g, state, steps[0], scratch[: p.size])

    return call, lambda _: list(params.values())


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Draw, compare and multiply into arrays that are there."""
    if work.name in ("AlphaDropout", "GaussianDropout"):
        raise MissingError(f"nobody has written {work.name} in place")
    (x,) = arrays
    drawn = noise.noise_shape(work.name, x.shape)
    rng, room, y = np.random.default_rng(0), np.empty(drawn, x.dtype), np.empty_like(x)

    def call():
        rng.random(out=room, dtype=x.dtype.type)
        np.less(room, 1 - noise.RATE, out=room)
        room.__imul__(x.dtype.type(1 / (1 - noise.RATE)))
        return np.multiply(x, room, out=y)

    return call, lambda y: [y]


def product(work: Any, arrays: Any, form: str) -> Any:
    """Multiply by the BLAS that NumPy was built with."""
    a, b = arrays
    out = np.empty((len(a), b.shape[1]), a.dtype)
    return partial(np.dot, a, b, out=out), lambda _: [out]
