"""Weights as scikit-learn keeps them, and the network of fastreg's layers that has them."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

import fastreg
from fastreg import BatchNorm, Dropout, LayerNorm
from fastreg.nn import Dense, ReLU, Sequential, Sigmoid, Tanh, stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastreg._core.types import Array
    from fastreg.sklearn.rows import Rows

__all__ = ["ACTIVATIONS", "build", "dense_layers", "initial", "new_norms", "outputs", "writeable"]

ACTIVATIONS: dict[str, Any] = {"identity": None, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}
NORMS: dict[str, Any] = {"batch": BatchNorm, "layer": LayerNorm}


def initial(
    units: Sequence[int], activation: str, random_state: Any, dtype: Any
) -> tuple[list[Array], list[Array]]:
    """Draw weights and biases as scikit-learn does: uniform, by Glorot and Bengio's bound."""
    coefs, intercepts = [], []
    for n_in, n_out in itertools.pairwise(units):
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (n_in + n_out))
        coefs.append(random_state.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
        intercepts.append(random_state.uniform(-bound, bound, n_out).astype(dtype))
    return coefs, intercepts


def new_norms(norm: str | None, intercepts: Sequence[Array]) -> list[Any]:
    """Return a normalisation for each hidden layer, whose shift takes the place of its biases."""
    if norm is None:
        return []
    for bias in intercepts[:-1]:
        bias[...] = 0
    return [NORMS[norm](len(bias)) for bias in intercepts[:-1]]


def build(
    coefs: Sequence[Array],
    intercepts: Sequence[Array],
    norms: Sequence[Any],
    activation: str,
    rates: Sequence[float],
    seeds: Sequence[int],
    calls: int,
) -> Sequential:
    """Return the network that has these very arrays and norms.

    ``rates`` and ``seeds`` are those of dropout on the input and on each hidden layer; ``calls``
    says how many batches it has already seen.
    """
    drops: list[Any] = [None] * len(coefs)
    for k, rate in enumerate(rates):
        if rate:
            drops[k] = Dropout(rate, rng=seeds[k])
            drops[k].reset(call=calls)
    pairs = zip(coefs, intercepts, strict=True)
    dense = [_dense(W, None if k < len(norms) else b) for k, (W, b) in enumerate(pairs)]
    return stacked(dense, norms, ACTIVATIONS[activation], drops)


def writeable(array: Array, dtype: Any = None) -> Array:
    """The array itself if it can be trained in this dtype, else a copy."""
    if array.flags.writeable and dtype in (None, array.dtype):
        return array
    return np.array(array, dtype)


def _dense(coef, bias):
    layer = Dense(1, 1, rng=0, dtype=coef.dtype)
    layer.W, layer.b = coef, bias
    return layer


def dense_layers(network: Sequential) -> list[Any]:
    """The layers whose weights are ``coefs_``."""
    return [layer for layer in network.layers if isinstance(layer, Dense)]


def outputs(network: Sequential, rows: Rows, refuse: Callable[[], Any] | None = None) -> Array:
    """Return a network's outputs in evaluation mode; it keeps nothing of the rows.

    ``refuse`` is called if rows that nobody has checked yet are not finite.
    """
    network.eval()
    found: list[Array] = []
    for chunk in rows.chunks():
        if refuse is not None and not _is_finite(chunk):
            refuse()
        found.append(network.forward(chunk))
    if len(found) > 1:  # layers remember their last input
        network.forward(np.zeros((1, rows.X.shape[1]), rows.dtype))
    return np.concatenate(found) if len(found) > 1 else found[0]


def _is_finite(array):
    with np.errstate(over="ignore", invalid="ignore"):
        if array.dtype == np.float32:  # on all threads; in float64 what is finite has a finite sum
            return math.isfinite(fastreg.l1_regularization_loss(array, 1.0))
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())
