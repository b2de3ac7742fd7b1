"""Whole pieces of work, each contender in a process of its own.

    python benches/whole.py [--seconds 4] [--only predict]

A loop of one's own in plain NumPy, with `fastreg.matmul` for ``@`` and without; predictions against
their matrix products alone; epochs of `Trainer.fit` against the same steps in a loop of one's own
that draws its batches. Median microseconds. Threads of a BLAS spin for a while after a call,
on the cores of the next contender: so each has its own process, they take turns block
by block, and each falls asleep before the next begins.
"""

import argparse
import itertools
import json
import sys
import time
from functools import partial

import numpy as np
from process import Process

SIZES = (784, 256, 128, 10)
BATCH = 128
ROWS = 4096  # predicted together
SMALL, SMALL_BATCH, STEPS, EPOCHS = (64, 64, 32, 10), 64, 49, 10  # of the epochs
TARGETS = {  # (slower one, faster one): how many times as long the first takes at least
    "loop": ("@", "matmul", 1.3),
    "predict": ("products", "fastreg", 1 / 1.15),
    "epochs": ("loop", "fit", 1 / 1.08),
    "epochs, dropout + BN": ("loop", "fit", 1 / 1.08),
}
CONTENDERS = {
    "loop": ("matmul", "@"),
    "predict": ("fastreg", "products"),
    "epochs": ("fit", "loop"),
    "epochs, dropout + BN": ("fit", "loop"),
}

SETTLE = 0.3  # seconds until the threads of the contender before are asleep


def layers(sizes, rng):
    """Draw weights and biases."""
    scale = [np.sqrt(2 / n, dtype=np.float32) for n in sizes]
    return [
        (s * rng.standard_normal((n_in, n_out), dtype=np.float32), np.zeros(n_out, np.float32))
        for s, (n_in, n_out) in zip(scale, itertools.pairwise(sizes), strict=False)
    ]


def own_loop(multiply):
    """Take steps of gradient descent on a perceptron written in plain NumPy."""
    rng = np.random.default_rng(0)
    net = layers(SIZES, rng)
    X = rng.standard_normal((BATCH, SIZES[0]), dtype=np.float32)
    wanted = np.eye(SIZES[-1], dtype=np.float32)[rng.integers(0, SIZES[-1], BATCH)]

    def call():
        inputs, Y = [], X
        for i, (W, b) in enumerate(net):
            inputs.append(Y)
            Y = multiply(Y, W) + b
            if i < len(net) - 1:
                Y = np.maximum(Y, 0)
        P = np.exp(Y - Y.max(axis=1, keepdims=True))
        dY = (P / P.sum(axis=1, keepdims=True) - wanted) / BATCH
        for i in range(len(net) - 1, -1, -1):
            W, b = net[i]
            dW, db = multiply(inputs[i].T, dY), dY.sum(axis=0)
            if i:
                dY = multiply(dY, W.T) * (inputs[i] > 0)
            W -= 1e-6 * dW
            b -= 1e-6 * db

    return call


def prediction(contender):
    """Return a call that predicts, or only multiplies."""
    import fastreg
    from fastreg.nn import mlp, softmax_cross_entropy
    from fastreg.train import Trainer

    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, SIZES[0]), dtype=np.float32)
    model = mlp(SIZES, batch_norm=True, dropout=0.5, rng=0)
    if contender == "fastreg":
        trainer = Trainer(model, softmax_cross_entropy, fastreg.SGD(0.1), progress=False)
        return partial(trainer.predict, X)
    weights = [layer.W for layer in model.layers if hasattr(layer, "W")]
    inputs = [rng.standard_normal((ROWS, len(W)), dtype=np.float32) for W in weights]

    def call():
        for Y, W in zip(inputs, weights, strict=True):
            fastreg.matmul(Y, W)

    return call


def epochs(contender, more):
    """Return a call that trains some epochs by `Trainer.fit`, or step by step."""
    import fastreg
    from fastreg.nn import mlp, softmax_cross_entropy
    from fastreg.train import Trainer

    rng, n = np.random.default_rng(0), STEPS * SMALL_BATCH
    X = rng.standard_normal((n, SMALL[0]), dtype=np.float32)
    y = rng.integers(0, SMALL[-1], n)
    model = mlp(SMALL, batch_norm=more, dropout=0.5 if more else 0.0, rng=0)
    optimizer = fastreg.AdamW(1e-6, weight_decay=0.01)
    if contender == "fit":
        trainer = Trainer(model, softmax_cross_entropy, optimizer, rng=0, progress=False)
        return partial(trainer.fit, X, y, epochs=EPOCHS, batch_size=SMALL_BATCH)

    def call():
        for _ in range(EPOCHS):
            order = rng.permutation(n)
            for start in range(0, n, SMALL_BATCH):
                rows = order[start : start + SMALL_BATCH]
                _, gradient = softmax_cross_entropy(model.forward(X[rows]), y[rows])
                model.backward(gradient, input_gradient=False)
                optimizer.update(model.params, model.grads)

    return call


def step_of(contender, work):
    """Return a call."""
    import fastreg

    if work == "predict":
        return prediction(contender)
    if work.startswith("epochs"):
        return epochs(contender, work != "epochs")
    return own_loop(fastreg.matmul if contender == "matmul" else np.matmul)


def serve(step_of):
    """Time blocks of calls for the process at the other end of the pipes."""
    call = step_of(*json.loads(sys.stdin.readline()))
    print(json.dumps(True), flush=True)
    for line in sys.stdin:
        end, taken = time.perf_counter() + json.loads(line), []
        call()
        while time.perf_counter() < end or not taken:
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        print(json.dumps(taken), flush=True)


def measure(script, names, work, seconds):
    """Return the median microseconds of every contender."""
    contenders, taken = {name: Process(script) for name in names}, {name: [] for name in names}
    for name, one in contenders.items():
        one.ask((name, work))
    for _ in range(5):
        for name, one in contenders.items():
            time.sleep(SETTLE)
            taken[name] += one.ask(seconds / 5)
    for one in contenders.values():
        one.close()
    return {name: 1e6 * float(np.median(times)) for name, times in taken.items()}


def main():
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each contender")
    parser.add_argument("--only", default="", help="work whose name has this in it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return serve(step_of)
    for work in (name for name in CONTENDERS if options.only in name):
        found = measure(__file__, CONTENDERS[work], work, options.seconds)
        print(f"{work}:", " · ".join(f"{name} {us:,.1f} us" for name, us in found.items()))
        slow, fast, factor = TARGETS[work]
        ratio = found[slow] / found[fast]
        verdict = "met" if ratio >= factor else "MISSED"
        print(f"  {slow} takes {ratio:.2f} times as long (>= {factor:.2f}: {verdict})")
    return None


if __name__ == "__main__":
    main()
