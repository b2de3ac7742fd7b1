"""A training step against the same step elsewhere, each contender in a process of its own.

    python benches/steps.py [--seconds 4] [--only 784]

Median microseconds. A library that brings a team of threads, such as torch or a BLAS, spins for a
while after a step; in one process, it spins on the cores of the next contender. So each has its own
process, they take turns block by block, and each falls asleep before the next begins. `fastreg` is
a loop of one's own with a forward pass, loss, backward pass and update; `fit` is a step of whole
epochs of `Trainer.fit`; `products` are the step's matrix products alone, by `fastreg.matmul`.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np

NETWORKS = {  # layer sizes, batch, batch norm and dropout
    "64-(64,32)-10, BN+dropout": ((64, 64, 32, 10), 64, True, 0.5),
    "64-(64,32)-10, plain": ((64, 64, 32, 10), 64, False, 0.0),
    "784-(256,128)-10, BN+dropout": ((784, 256, 128, 10), 128, True, 0.5),
    "784-(1024,1024)-10, BN+dropout": ((784, 1024, 1024, 10), 128, True, 0.5),
}
CONTENDERS = (
    "fastreg", "fit", "reference", "products", "torch", "torch, 1 thread", "JAX", "scikit-learn",
)  # fmt: skip
TARGETS = {  # (contender, times as slow as fastreg at least), (contender, at most times as fast)
    "64-(64,32)-10, BN+dropout": [("torch", 18.0), ("torch, 1 thread", 18.0), ("JAX", 4.5)],
    "64-(64,32)-10, plain": [("torch", 12.0), ("torch, 1 thread", 12.0), ("JAX", 2.2)],
    "784-(256,128)-10, BN+dropout": [
        ("torch", 3.5), ("torch, 1 thread", 3.5), ("JAX", 2.0), ("products", 1 / 1.25)
    ],
    "784-(1024,1024)-10, BN+dropout": [
        ("torch", 2.2), ("torch, 1 thread", 2.2), ("JAX", 1.4), ("products", 1 / 1.2)
    ],
}  # fmt: skip
RATE = 1e-6  # nobody learns the batch by heart: gradients near 0 are slow numbers
EPOCH = 50  # batches of an epoch of `fit`
SETTLE = 0.3  # seconds until the threads of the contender before are asleep


def network_of(module, sizes, batch_norm, dropout):
    """Return (model, loss, optimizer) of fastreg or of its reference."""
    from fastreg import nn

    backend = "fast" if module.__name__ == "fastreg" else "reference"
    model = nn.mlp(sizes, batch_norm=batch_norm, dropout=dropout, rng=0, backend=backend)
    loss = nn if backend == "fast" else module
    return model, loss.softmax_cross_entropy, module.AdamW(RATE)


def own_loop(model, loss, optimizer, X, y):
    """Take a step."""
    _, gradient = loss(model.forward(X), y)
    model.backward(gradient, input_gradient=False)
    optimizer.update(model.params, model.grads)


def products(sizes, batch):
    """Do a step's matrix products and nothing else."""
    import fastreg

    rng = np.random.default_rng(0)
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        shapes = (batch, n_in), (n_in, n_out), (batch, n_out)
        layers.append([rng.standard_normal(shape, dtype=np.float32) for shape in shapes])

    def call():
        for i, (X, W, dY) in enumerate(layers):
            fastreg.matmul(X, W)
            fastreg.matmul(X.T, dY)
            if i:
                fastreg.matmul(dY, W.T)

    return call


def jax_epoch(network):
    """Return (a call, the steps in it), in a process that loads no other library."""
    from jax_epoch import epoch

    sizes, batch, batch_norm, dropout = NETWORKS[network]
    rng = np.random.default_rng(1)
    X = np.tile(rng.standard_normal((batch, sizes[0]), dtype=np.float32), (EPOCH, 1, 1))
    y = np.tile(rng.integers(0, sizes[-1], batch), (EPOCH, 1))
    call = epoch(sizes, batch_norm, dropout, RATE, X, y)
    return None if call is None else (call, EPOCH)


def step_of(contender, network):
    """Return (a call, the steps in it), or None where the library is not there."""
    if contender == "JAX":
        return jax_epoch(network)
    import peers

    import fastreg
    from fastreg import reference
    from fastreg.train import Trainer

    sizes, batch, batch_norm, dropout = NETWORKS[network]
    rng = np.random.default_rng(1)
    X = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], batch)
    if contender == "products":
        return products(sizes, batch), 1
    if contender == "fit":
        run = Trainer(*network_of(fastreg, sizes, batch_norm, dropout), rng=0, progress=False)
        data = np.tile(X, (EPOCH, 1)), np.tile(y, EPOCH)
        return partial(run.fit, *data, epochs=1, batch_size=batch), EPOCH
    if contender in ("fastreg", "reference"):
        module = fastreg if contender == "fastreg" else reference
        return partial(own_loop, *network_of(module, sizes, batch_norm, dropout), X, y), 1
    if contender == "scikit-learn":
        calls = {} if batch_norm else peers.sklearn_step(sizes, RATE, X, y)
    else:
        found = peers.training_step(sizes, batch_norm, dropout, "AdamW", RATE, X, y)
        calls = {"torch": found.get("torch eager"), "torch, 1 thread": found.get("torch 1 thread")}
    return (calls[contender], 1) if calls.get(contender) else None


def serve(step_of):
    """Time blocks of calls for the process at the other end of the pipes."""
    found = step_of(*json.loads(sys.stdin.readline()))
    print(json.dumps(found is not None), flush=True)
    if found is None:
        return
    call, steps = found
    for line in sys.stdin:
        end, taken = time.perf_counter() + json.loads(line), []
        call()
        while time.perf_counter() < end or not taken:
            start = time.perf_counter()
            call()
            taken.append((time.perf_counter() - start) / steps)
        print(json.dumps(taken), flush=True)


class Contender:
    """A process that takes the steps of one library."""

    def __init__(self, script, *what):
        """Start it."""
        tree = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker"], text=True,
            env={"PYTHONPATH": tree, **os.environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.taken = []
        self.is_there = self.ask(what)

    def ask(self, what):
        """Send a line and wait for the answer."""
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(script, names, work, seconds):
    """Return the median microseconds of every contender that is there."""
    contenders = {name: Contender(script, name, work) for name in names}
    contenders = {name: one for name, one in contenders.items() if one.is_there}
    for _ in range(5):
        for one in contenders.values():
            time.sleep(SETTLE)
            one.taken += one.ask(seconds / 5)
    for one in contenders.values():
        one.process.stdin.close()
        one.process.wait()
    return {name: 1e6 * float(np.median(one.taken)) for name, one in contenders.items()}


def main():
    """Measure the networks asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each contender")
    parser.add_argument("--only", default="", help="networks whose name has this in it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return serve(step_of)
    for network in (name for name in NETWORKS if options.only in name):
        found = measure(__file__, CONTENDERS, network, options.seconds)
        print(f"{network}:", " · ".join(f"{name} {us:,.1f}" for name, us in found.items()))
        ours = found["fastreg"]
        for name, factor in TARGETS[network]:
            if name in found:
                ratio = found[name] / ours
                verdict = "met" if ratio >= factor else "MISSED"
                print(f"  {name} takes {ratio:.2f} times as long (>= {factor:.2f}: {verdict})")
        print(f"  an epoch takes {found['fit'] / ours:.2f} times its steps (<= 1.08)", flush=True)
    return None


if __name__ == "__main__":
    main()
