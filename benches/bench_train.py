"""One training step: forward, loss, backward, update; against the same step elsewhere."""

import itertools
from functools import partial

import numpy as np
import peers
import pytest
from comparison import Comparison
from targets import faster, time_ratio

import fastreg
from fastreg import reference
from fastreg.nn import mlp, softmax_cross_entropy

NETWORKS = {  # layer sizes and batch
    "64-(64,32)-10": ((64, 64, 32, 10), 64),
    "784-(256,128)-10": ((784, 256, 128, 10), 128),
    "784-(1024,1024)-10": ((784, 1024, 1024, 10), 128),
}
KINDS = {"plain": (False, 0.0), "BN+dropout": (True, 0.5)}
OPTIMIZER = "AdamW" if hasattr(fastreg, "AdamW") else "Adam"
RATE = 1e-3

REFERENCE = faster(2.5, "reference")
TORCH = ("torch eager", "torch 1 thread")
TARGETS = {
    ("64-(64,32)-10", "BN+dropout"): [faster(4, name) for name in TORCH],
    ("64-(64,32)-10", "plain"): [faster(2.5, name) for name in (*TORCH, "scikit-learn")],
    ("784-(256,128)-10", "BN+dropout"): [
        *(faster(2, name) for name in TORCH),
        time_ratio(1.6, "products"),
    ],
    ("784-(1024,1024)-10", "BN+dropout"): [
        *(faster(1.4, name) for name in TORCH),
        time_ratio(1.25, "products"),
    ],
}


def step(model, loss, optimizer, X, y, **options):
    """Take a training step."""
    _, gradient = loss(model.forward(X), y)
    model.backward(gradient, **options)
    optimizer.update(model.params, model.grads)


def products(sizes, batch):
    """Do a step's matrix products and nothing else."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        X, W, dY = draw(batch, n_in), draw(n_in, n_out), draw(batch, n_out)
        layers.append((X, W, dY, *(np.empty_like(array) for array in (X, W, dY))))

    def call():
        for i, (X, W, dY, dX, dW, Y) in enumerate(layers):
            np.dot(X, W, Y)
            np.dot(X.T, dY, dW)
            if i:
                np.dot(dY, W.T, dX)

    return call


def verify(ours, theirs, X, y):
    """Hold loss and gradients against the reference's, by the size of each gradient."""
    value, gradient = softmax_cross_entropy(ours.forward(X), y)
    expected, dexpected = reference.softmax_cross_entropy(theirs.forward(X), y)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    ours.backward(gradient), theirs.backward(dexpected)
    for name, grad in ours.grads.items():
        exact = theirs.grads[name]
        np.testing.assert_allclose(grad, exact, rtol=0, atol=1e-3 * np.abs(exact).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def bench_step(compare, network, kind):
    """Time one step on one batch, which stays in cache as it does in no real run, for all alike."""
    sizes, batch = NETWORKS[network]
    batch_norm, dropout = KINDS[kind]
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((batch, sizes[0]), dtype=np.float32), rng.integers(0, 10, batch)
    options = {"batch_norm": batch_norm, "dropout": dropout, "rng": 0}
    ours, theirs = (mlp(sizes, backend=backend, **options) for backend in ("fast", "reference"))
    verify(ours, theirs, X, y)
    optimizers = [getattr(module, OPTIMIZER)(RATE) for module in (fastreg, reference)]
    fast = partial(step, ours, softmax_cross_entropy, optimizers[0], X, y, input_gradient=False)
    slow = partial(step, theirs, reference.softmax_cross_entropy, optimizers[1], X, y)
    backends = {"reference": slow, "products": products(sizes, batch)}
    backends |= peers.training_step(sizes, batch_norm, dropout, OPTIMIZER, RATE, X, y)
    if kind == "plain":
        backends |= peers.sklearn_step(sizes, RATE, X, y)
    compare(
        Comparison(
            f"step of {network}, {OPTIMIZER}",
            kind,
            fast,
            backends,
            targets=[REFERENCE, *TARGETS.get((network, kind), ())],
        )
    )
