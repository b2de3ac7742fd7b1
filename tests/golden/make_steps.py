"""Hashes of whole training runs: ``python tests/golden/make_steps.py`` writes steps.json.

A run is standardised data, initial weights and 200 steps of `Trainer.fit`; its hash is that of the
checkpoint file, byte for byte. The file of hashes is to be made anew only when a formula or the
file format changes on purpose. Levels, threads and compilers never change it.
"""

import hashlib
import itertools
import json
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np

import fastreg
from fastreg import data, nn, train

FILE = pathlib.Path(__file__).with_name("steps.json")
VERSION = "0.1.0"  # that the files name, whichever it is: a release changes no bit of a run
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "exact_gelu": lambda: nn.GELU(exact=True),
}
LOSSES = {
    "softmax_cross_entropy": lambda h: h.argmax(axis=1),
    "binary_cross_entropy": lambda h: (h > 0).astype(np.float64),
    "mse": lambda h: h,
    "mae": lambda h: h,
    "huber": lambda h: h,
    "quantile": lambda h: h,
    "poisson": lambda h: np.floor(np.abs(h)),
    "focal": lambda h: (h > 0).astype(np.float64),
}
RUNS = [
    *itertools.product(ACTIVATIONS, ["softmax_cross_entropy"], ["float32", "float64"]),
    *itertools.product(["tanh"], [*LOSSES][1:], ["float32", "float64"]),
]


def digits(rng, *shape):
    """Numbers of 16 bits from integers: no library's logarithm is in them."""
    return rng.integers(-(2**15), 2**15, shape) / 2.0**13


def network(activation, dtype):
    """Return layers with batch norm and dropout."""
    layers = []
    for n_in, n_out in itertools.pairwise((16, 32, 16)):
        layers += [nn.Dense(n_in, n_out, rng=n_in, dtype=dtype), fastreg.BatchNorm(n_out),
                   ACTIVATIONS[activation](), fastreg.Dropout(0.25, rng=n_out)]  # fmt: skip
    layers.append(nn.Dense(16, 4, rng=0, dtype=dtype))
    return nn.Sequential(layers)


def hash_of(activation, loss, dtype):
    """Train for 200 steps and return the hash of the checkpoint file."""
    rng = np.random.default_rng(1)
    X = digits(rng, 800, 16)
    X = data.Standardizer(X)(X).astype(dtype)
    y = LOSSES[loss](X[:, :4] * X[:, 4:8] + X[:, 8:12])
    y = y if y.ndim == 1 else y.astype(dtype)
    model = network(activation, dtype)
    schedule = fastreg.schedule.cosine(1e-2, 200)
    optimizer = fastreg.AdamW(schedule, weight_decay=0.01)
    run = train.Trainer(model, getattr(nn, loss), optimizer, rng=2, progress=False)
    run.fit(X, y, epochs=4, batch_size=16)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "run.ckpt")
        with mock.patch.object(fastreg, "__version__", VERSION):
            run.save(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes():
    """Return the hash of every run, by name."""
    return {" ".join(run): hash_of(*run) for run in RUNS}


if __name__ == "__main__":
    found = hashes()
    if "--print" in sys.argv:
        print(json.dumps(found))
    else:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
