"""A training step: forward pass, loss, backward pass and AdamW, on one batch."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

import fastreg
from fastreg import nn, reference
from fastreg.bench.problems import draw

__all__ = ["bytes_moved", "check", "checked", "inputs", "network", "operations", "plan", "take"]

CALLS = 2
#: What is timed learns no batch by heart: gradients near 0 would be slow numbers.
RATES = {"step": 1e-6, "checked step": 1e-3}
EPOCH = 20  # batches of an epoch, for those who train whole epochs


def plan(work: Any) -> tuple[int, tuple[int, ...], bool, float, float]:
    """Return batch, sizes, batch norm, dropout rate and learning rate."""
    batch, *sizes = work.shape
    batch_norm = work.form.startswith("BN")
    dropout = 0.5 if work.form == "BN+dropout" else 0.0
    return batch, tuple(sizes), batch_norm, dropout, RATES[work.name]


def checked(work: Any) -> Any:
    """Return the step without dropout, of which everyone draws their own, at a rate that shows."""
    form = work.form.replace("+dropout", "")
    return dataclasses.replace(work, form=form, name="checked step")


def inputs(work: Any) -> Any:
    """Draw a batch, its labels, and a weight per layer."""
    batch, sizes, *_ = plan(work)
    y = np.random.default_rng(1).integers(0, sizes[-1], batch)
    weights = [
        draw(pair, work.dtype, seed=i + 2) * np.sqrt(2 / pair[0], dtype=work.dtype)
        for i, pair in enumerate(itertools.pairwise(sizes))
    ]
    return draw((batch, sizes[0]), work.dtype), y, weights


def network(module: Any, work: Any, weights: Any) -> Any:
    """Return model, loss and optimizer of fastreg or of its reference."""
    _, sizes, batch_norm, dropout, rate = plan(work)
    backend = "fast" if module is fastreg else "reference"
    model = nn.mlp(sizes, batch_norm=batch_norm, dropout=dropout, rng=0, dtype=work.dtype,
                   backend=backend)  # fmt: skip
    dense = [layer for layer in model.layers if hasattr(layer, "W")]
    for layer, W in zip(dense, weights, strict=True):
        layer.W[...] = W
    loss = nn if backend == "fast" else module
    return model, loss.softmax_cross_entropy, module.AdamW(rate, weight_decay=0.01)


def take(model: Any, loss: Any, optimizer: Any, X: Any, y: Any) -> None:
    """Take a step."""
    _, gradient = loss(model.forward(X), y)
    model.backward(gradient, input_gradient=False)
    optimizer.update(model.params, model.grads)


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Compare all weights after CALLS steps, by the size of a step.

    The first steps of AdamW are a rate long wherever the gradient has one sign, so rounding moves
    the weights whose gradient is near 0 anywhere: the mean of the differences is what counts.
    """
    X, y, weights = arrays
    start = [W.astype(np.float64) for W in weights]
    model, loss, optimizer = network(reference, work, weights)
    for _ in range(CALLS):
        take(model, loss, optimizer, X, y)
    exact = [layer.W for layer in model.layers if hasattr(layer, "W")]
    for one, other, before in zip(found, exact, start, strict=True):
        assert np.shape(one) == np.shape(other), f"shape {np.shape(one)} instead of {other.shape}"
        moved = np.abs(other - before).mean()
        error = np.abs(one - other).mean()
        assert error <= 0.02 * moved, f"weights are off by {error:.3g} in steps of {moved:.3g}"


def bytes_moved(work: Any) -> int:
    """Return nothing: the batch stays in cache."""
    return 0


def operations(work: Any) -> int:
    """Count the additions and multiplications of the products."""
    batch, sizes, *_ = plan(work)
    pairs = list(itertools.pairwise(sizes))
    forward = 2 * batch * sum(n_in * n_out for n_in, n_out in pairs)
    return 3 * forward - 2 * batch * pairs[0][0] * pairs[0][1]
