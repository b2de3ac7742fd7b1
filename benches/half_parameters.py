"""Whether parameters of 16 bits change where a training ends: five data sets, five seeds each.

Each group of trainings has the same weights, batches and steps of AdamW; the first keeps its
parameters in float32, the others in bfloat16 or float16, with gradients of the same type, and with
or without float32 masters. Printed is the mean of the final training losses, and the 95 % interval
of the mean of the log ratios (Student's t). Run it as ``python benches/half_parameters.py``.
"""

import argparse

import ml_dtypes
import numpy as np
from narrow_state import SETS, data, interval

import fastreg
from fastreg.nn import mlp, mse, softmax_cross_entropy

KINDS = {
    "float32": (np.float32, False),
    "bfloat16": (ml_dtypes.bfloat16, False),
    "bfloat16, master": (ml_dtypes.bfloat16, True),
    "float16": (np.float16, False),
    "float16, master": (np.float16, True),
}


def final_loss(name, seed, kind, epochs, rate):
    """The loss of the whole training data after the last epoch."""
    X, y = data(name)
    classes = y.ndim == 1
    model = mlp([X.shape[1], 64, 32, y.max() + 1 if classes else 1], rng=seed)
    loss = softmax_cross_entropy if classes else mse
    dtype, master = KINDS[kind]
    params = {key: value.astype(dtype) for key, value in model.params.items()}
    optimizer = fastreg.AdamW(rate, master=master, rng=seed)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), 32):
            rows = order[start : start + 32]
            for key, value in model.params.items():
                value[...] = params[key]
            model.backward(loss(model.forward(X[rows]), y[rows])[1], input_gradient=False)
            optimizer.update(params, {k: g.astype(dtype) for k, g in model.grads.items()})
    for key, value in model.params.items():
        value[...] = params[key]
    return float(loss(model.forward(X), y)[0])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    kinds = list(KINDS)[1:]
    print("| data | float32 | " + " | ".join(f"{kind} | log ratio, 95 %" for kind in kinds) + " |")
    print("|---|--:" + "|--:|--:" * len(kinds) + "|")
    every = []
    for name in SETS:
        losses = np.array([
            [final_loss(name, seed, kind, options.epochs, options.rate) for kind in KINDS]
            for seed in range(options.seeds)
        ])  # fmt: skip
        ratios = np.log(losses[:, 1:] / losses[:, :1])
        every.extend(ratios)
        row = f"| {name} | {losses[:, 0].mean():.4g} |"
        for k in range(len(kinds)):
            low, high = interval(ratios[:, k])
            row += f" {losses[:, k + 1].mean():.4g} | {low:+.4f} to {high:+.4f} |"
        print(row, flush=True)
    row = f"| all {len(every)} | |"
    for k in range(len(kinds)):
        low, high = interval(np.array(every)[:, k])
        row += f" | {low:+.4f} to {high:+.4f} |"
    print(row)


if __name__ == "__main__":
    main()
